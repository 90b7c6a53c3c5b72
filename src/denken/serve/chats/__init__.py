"""Conversations as the page has them: kept, answered, found again, carried in and out. See docs/chats.md."""
