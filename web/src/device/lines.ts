// The list of this device's conversations, and what can be done with one: named, taken along as a file, handed to the
// server, deleted. It is handed over only when the person says so: until then nothing of it has left the device.

import i18next from "i18next";
import { useEffect, useSyncExternalStore } from "react";

import { conversationsChanged, onConversationsChanged } from "../changes";
import type { Conversation, ConversationLine, Message } from "../types";
import { send } from "../upload";
import { download } from "./download";
import { stopAll } from "./home";
import * as store from "./store";
import { branch } from "../thread/tree";

let told: readonly ConversationLine[] = [];
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

async function read(): Promise<void> {
  // A browser that keeps nothing, as in some private windows, has none.
  const kept = await store.lines().catch(() => []);
  told = kept.map((one) => store.asLine(one));
  for (const listener of listeners) listener();
}

/** The newest first. */
export function useLines(): readonly ConversationLine[] {
  useEffect(() => {
    void read();
    const look = () => document.hidden || void read();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return useSyncExternalStore(subscribe, () => told);
}

export function linesNow(): readonly ConversationLine[] {
  return told;
}

onConversationsChanged(() => void read());

/** Those in which all of the words stand. */
export async function search(words: string): Promise<ConversationLine[]> {
  const wanted = words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const found: ConversationLine[] = [];
  for (const kept of await store.lines().catch(() => [])) {
    const conversation = await store.conversation(kept.id);
    const said = [kept.title, ...(conversation?.messages ?? []).map((message) => message.content)].join("\n").toLocaleLowerCase();
    if (wanted.every((word) => said.includes(word))) found.push(store.asLine(kept));
  }
  return found;
}

export async function rename(id: string, title: string): Promise<void> {
  await store.change(id, { title });
  conversationsChanged();
}

/** Returns how to bring it back. */
export async function remove(id: string): Promise<() => Promise<void>> {
  stopAll(id);
  const conversation = await store.conversation(id);
  await store.remove(id);
  conversationsChanged();
  return async () => {
    if (conversation) await write(conversation);
    conversationsChanged();
  };
}

function write({ id, title, created, updated, head, messages }: Conversation): Promise<void> {
  const over = messages.map((message) => (message.state === "running" ? { ...message, state: "stopped" as const, stream: null } : message));
  return store.write({ id, title, created, updated, head }, over);
}

/** As the server exports its own (serve/chats/exports.py), so that it can be read there. */
export function asJson({ id, title, created, updated, head, messages }: Conversation): string {
  const told = messages.map(({ stream: _, ...message }) => message);
  return JSON.stringify({ format: "denken-conversation", version: 1, id, title, pinned: false, created, updated, head, messages: told }, null, 1);
}

/** The branch that is shown, for people. */
export function asMarkdown({ title, created, head, messages }: Conversation): string {
  const t = i18next.t;
  const parts = [`# ${title}`, new Date(created).toISOString().slice(0, 10)];
  for (const { role, content, thought, model } of branch(new Map(messages.map((one) => [one.id, one])), head)) {
    if (role === "user") parts.push(`## ${t("device.you")}`, content.trim());
    else {
      parts.push(`## ${t("thread.answer")}${model ? ` (${model})` : ""}`);
      if (thought.trim()) parts.push(`<details><summary>${t("device.thought")}</summary>\n\n${thought.trim()}\n\n</details>`);
      parts.push(content.trim());
    }
  }
  return `${parts.filter(Boolean).join("\n\n")}\n`;
}

export async function exportAs(id: string, format: "markdown" | "json"): Promise<void> {
  const conversation = await whole(id);
  const [text, ending, type] = format === "json" ? [asJson(conversation), "json", "application/json"] : [asMarkdown(conversation), "md", "text/markdown"];
  const name = conversation.title.replace(/[\\/:*?"<>|.\s]+/g, " ").trim() || "denken";
  download(new Blob([text], { type }), `${name}.${ending}`);
}

/** Hands a conversation to the server; it is here no longer once the server has it. Raises as `send` does. */
export async function handOver(id: string): Promise<void> {
  const body = new Blob([asJson(await whole(id))], { type: "application/json" });
  const { imported, problems } = await send<{ imported: number; skipped: number; problems: string[] }>("/app/import", body, () => undefined);
  // One that is there already was handed over before.
  if (imported === 0 && problems.length > 0) throw new Error(problems[0]);
  await store.remove(id);
  conversationsChanged();
}

async function whole(id: string): Promise<Conversation> {
  const found = await store.conversation(id);
  if (found === null) throw new Error(i18next.t("thread.missing"));
  if (found.messages.some((message: Message) => message.state === "running")) throw new Error(i18next.t("device.stillRuns"));
  return found;
}
