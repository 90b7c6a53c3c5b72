// Says that the list of conversations is not what it was: one began, ended a reply, was renamed, moved or deleted.
// Whoever changes one calls `conversationsChanged`; whoever shows the list reads it again.

const listeners = new Set<() => void>();

export function conversationsChanged(): void {
  for (const listener of listeners) listener();
}

/** Returns how to stop listening. */
export function onConversationsChanged(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
