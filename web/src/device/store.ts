// Conversations that stay on this device: in the browser's IndexedDB, a record for each conversation and each message,
// as the server's store has them. Nothing here asks the network for anything.

import type { Conversation, ConversationLine, Message } from "../types";

const NAME = "denken";
const PREFIX = "here-";

/** Whether a conversation is one of this device. */
export function isHere(conversation: string): boolean {
  return conversation.startsWith(PREFIX);
}

export function newId(prefix = PREFIX): string {
  return prefix + Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What is kept of a conversation. */
export interface Kept {
  id: string;
  title: string;
  created: number;
  updated: number;
  head: string | null;
}

type KeptMessage = Message & { conversation: string };

let opening: Promise<IDBDatabase> | null = null;

function database(): Promise<IDBDatabase> {
  return (opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    request.onerror = () => {
      opening = null;
      reject(request.error!);
    };
    request.onsuccess = () => {
      // Another tab with a newer page may change how things are kept.
      request.result.onversionchange = () => {
        request.result.close();
        opening = null;
      };
      resolve(request.result);
    };
  }));
}

/** Both stores in one transaction; what `work` asks for is there, or written, when this resolves. */
async function within<T>(mode: IDBTransactionMode, work: (conversations: IDBObjectStore, messages: IDBObjectStore) => T): Promise<T> {
  const transaction = (await database()).transaction(["conversations", "messages"], mode);
  const result = work(transaction.objectStore("conversations"), transaction.objectStore("messages"));
  await new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error("The browser kept nothing."));
  });
  return result;
}

/** All of them, the newest first. */
export async function lines(): Promise<Kept[]> {
  const all = await within("readonly", (conversations) => conversations.getAll() as IDBRequest<Kept[]>);
  return all.result.sort((one, other) => other.updated - one.updated);
}

/** null: there is none. */
export async function conversation(id: string): Promise<Conversation | null> {
  const [kept, told] = await within("readonly", (conversations, messages) => [
    conversations.get(id) as IDBRequest<Kept | undefined>,
    messages.index("conversation").getAll(id) as IDBRequest<KeptMessage[]>,
  ]);
  if (kept.result === undefined) return null;
  const messages = told.result.map(({ conversation: _, ...message }) => message);
  messages.sort((one, other) => one.created - other.created || (one.id === other.parent ? -1 : 1));
  return { ...asLine(kept.result, messages.some((message) => message.state === "running")), head: kept.result.head, share: null, messages };
}

export function asLine({ id, title, created, updated }: Kept, running = false): ConversationLine {
  return { id, title, created, updated, running, pinned: false };
}

/** Writes messages, and the conversation with them. */
export async function write(kept: Kept, told: readonly Message[]): Promise<void> {
  await within("readwrite", (conversations, messages) => {
    conversations.put(kept);
    for (const message of told) messages.put({ ...message, conversation: kept.id } satisfies KeptMessage);
  });
}

/** Writes how a message is now, if its conversation is still there. */
export async function rewrite(id: string, message: Message): Promise<void> {
  await within("readwrite", (conversations, messages) => {
    conversations.getKey(id).onsuccess = ({ target }) => {
      if ((target as IDBRequest).result !== undefined) messages.put({ ...message, conversation: id } satisfies KeptMessage);
    };
  });
}

/** Changes what is kept of a conversation; one that is gone stays gone. */
export async function change(id: string, with_: Partial<Omit<Kept, "id">>): Promise<void> {
  await within("readwrite", (conversations) => {
    const found = conversations.get(id) as IDBRequest<Kept | undefined>;
    found.onsuccess = () => found.result && conversations.put({ ...found.result, ...with_ });
  });
}

export async function remove(id: string): Promise<void> {
  await within("readwrite", (conversations, messages) => {
    conversations.delete(id);
    const keys = messages.index("conversation").getAllKeys(id);
    keys.onsuccess = () => keys.result.forEach((key) => messages.delete(key));
  });
}
