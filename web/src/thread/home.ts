// Where a conversation lives and is answered: on the server, or on this device (device/home.ts). A thread knows only this.

import { getJson, sendJson } from "../api";
import { type Listening, follow, postTurn, stopStream } from "../events";
import type { Conversation, Turn } from "../types";

/** A reply under way. */
export interface Begun {
  /** Its name, by which it is stopped and heard again. */
  stream: string;
  /** Hears it from its first event to its end. */
  hear: (listening: Listening) => Promise<unknown>;
}

export interface Home {
  /** Raises Refusal 404 where there is none. */
  read: (conversation: string) => Promise<Conversation>;
  /** A new conversation; its id. */
  make: () => Promise<string>;
  /** Asks; resolves once the turn is taken. */
  ask: (conversation: string, turn: Turn) => Promise<Begun>;
  /** A reply that was begun before this thread knew of it. */
  resume: (stream: string) => Begun;
  /** Ends a reply; one that is over already is no error. */
  stop: (stream: string) => Promise<void>;
  /** Keeps which branch is shown. */
  show: (conversation: string, head: string) => Promise<unknown>;
}

export const server: Home = {
  read: (conversation) => getJson<Conversation>(`/app/conversations/${conversation}`),
  make: async () => (await sendJson<Conversation>("POST", "/app/conversations", {})).id,
  ask: async (conversation, turn) => {
    const { stream, response } = await postTurn(conversation, turn);
    return { stream, hear: (listening) => follow(stream, response, listening) };
  },
  resume: (stream) => ({ stream, hear: (listening) => follow(stream, null, listening) }),
  stop: stopStream,
  show: (conversation, head) => sendJson("PATCH", `/app/conversations/${conversation}`, { head }),
};
