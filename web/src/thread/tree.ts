// A conversation is a tree: an edited question and a reply asked for again stand beside the first. Pure functions.

import type { Message } from "../types";

export type Messages = ReadonlyMap<string, Message>;

/** The messages that have this parent, the oldest first. */
export function children(messages: Messages, parent: string | null): Message[] {
  const found: Message[] = [];
  for (const message of messages.values()) if (message.parent === parent) found.push(message);
  return found.sort((one, other) => one.created - other.created);
}

/** Which of its children was shown last under a message (null: at the beginning). */
export type Seen = ReadonlyMap<string | null, string>;

/** The shown branch from its first message to its last: through `head`, and on the way that was seen, or the newest. */
export function branch(messages: Messages, head: string | null, seen: Seen = new Map()): Message[] {
  const path: Message[] = [];
  const passed = new Set<string>();
  for (let at = head === null ? undefined : messages.get(head); at && !passed.has(at.id); ) {
    passed.add(at.id);
    path.unshift(at);
    at = at.parent === null ? undefined : messages.get(at.parent);
  }
  for (;;) {
    const parent = path.at(-1)?.id ?? null;
    const all = children(messages, parent);
    const next = all.find(({ id }) => id === seen.get(parent)) ?? all.at(-1);
    if (!next || passed.has(next.id)) return path;
    passed.add(next.id);
    path.push(next);
  }
}

/** Which of its siblings a message is, from 0, and all of them. */
export function among(messages: Messages, message: Message): { at: number; all: string[] } {
  const all = children(messages, message.parent).map((sibling) => sibling.id);
  return { at: all.indexOf(message.id), all };
}
