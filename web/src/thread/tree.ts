// A conversation is a tree: an edited question and a reply asked for again stand beside the first. Pure functions.

import type { Message } from "../types";

export type Messages = ReadonlyMap<string, Message>;

/** The messages that have this parent, the oldest first. */
export function children(messages: Messages, parent: string | null): Message[] {
  const found: Message[] = [];
  for (const message of messages.values()) if (message.parent === parent) found.push(message);
  return found.sort((one, other) => one.created - other.created);
}

/** The shown branch from its first message to its last; head: any message of it, and the newest way on from there. */
export function branch(messages: Messages, head: string | null): Message[] {
  const path: Message[] = [];
  const seen = new Set<string>();
  for (let at = head === null ? undefined : messages.get(head); at && !seen.has(at.id); ) {
    seen.add(at.id);
    path.unshift(at);
    at = at.parent === null ? undefined : messages.get(at.parent);
  }
  for (;;) {
    const next = children(messages, path.at(-1)?.id ?? null).at(-1);
    if (!next || seen.has(next.id)) return path;
    seen.add(next.id);
    path.push(next);
  }
}

/** Which of its siblings a message is, from 0, and all of them. */
export function among(messages: Messages, message: Message): { at: number; all: string[] } {
  const all = children(messages, message.parent).map((sibling) => sibling.id);
  return { at: all.indexOf(message.id), all };
}
