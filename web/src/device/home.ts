// Conversations of this device: they are kept by the browser, and the model that was fetched answers them. To a thread
// it is a home like the server (thread/home.ts): the same events come, and nothing of it goes anywhere.
//
// Whoever writes a reply holds a lock of its name. So another tab knows that it is still being written, and a reply
// whose tab was closed is known to have been cut off.

import i18next from "i18next";

import { Refusal } from "../api";
import type { Listening } from "../events";
import type { Begun, Home } from "../thread/home";
import type { Conversation, Message, Turn, TurnEvent } from "../types";
import { exchanges } from "./fitting";
import type { Piece } from "./sorter";
import { type Ended, type Model, NoModel, model } from "./model";
import * as store from "./store";
import { titleOf } from "./title";

/** While it is written, a reply is kept so often. */
const KEEP_MS = 1000;

/** A reply that this tab is writing. */
class Live {
  readonly over: Promise<void>;
  message: Message;
  private readonly events: TurnEvent[] = [];
  private readonly listeners = new Set<(event: TurnEvent) => void>();
  private readonly number: number;
  private readonly began = performance.now();
  private isOver: () => void = () => undefined;
  private writing: Promise<void> = Promise.resolve();
  private writtenAt = performance.now();

  constructor(
    readonly conversation: string,
    private readonly model: Model,
    asked: Parameters<Model["ask"]>[0],
    user: Message | null,
    reply: Message,
  ) {
    this.over = new Promise((resolve) => (this.isOver = resolve));
    this.message = { ...reply };
    this.tell({ type: "begin", user, reply, stream: reply.id });
    this.number = model.ask(asked, { said: this.said, ended: (how) => void this.ended(how) });
  }

  stop(): void {
    this.model.stop(this.number);
  }

  hear(on: (event: TurnEvent) => void, signal: AbortSignal): Promise<void> {
    this.events.forEach(on);
    this.listeners.add(on);
    signal.addEventListener("abort", () => this.listeners.delete(on));
    return this.over;
  }

  private tell(event: TurnEvent): void {
    this.events.push(event);
    for (const listener of this.listeners) listener(event);
  }

  private said = (pieces: Piece[]): void => {
    const { message } = this;
    for (const { kind, text } of pieces) {
      if (kind === "think") {
        message.thought += text;
        message.thought_seconds = this.seconds;
      } else message.content += text;
      this.tell({ type: kind, text });
    }
    message.seconds = this.seconds;
    if (performance.now() - this.writtenAt < KEEP_MS) return;
    this.writtenAt = performance.now();
    this.keep();
  };

  private get seconds(): number {
    return (performance.now() - this.began) / 1000;
  }

  private keep(): void {
    const now = { ...this.message };
    this.writing = this.writing.then(() => store.rewrite(this.conversation, now)).catch(() => undefined);
  }

  private async ended({ end, counted, leftOut }: Ended): Promise<void> {
    const { message } = this;
    const isWrong = end === "failed" || end === "too_long";
    message.state = isWrong ? "failed" : end;
    message.seconds = this.seconds;
    message.stream = null;
    message.usage = counted;
    message.left_out = leftOut;
    if (end === "too_long") {
      const { id, context } = this.model.offer;
      message.error = { message: i18next.t("device.tooLong", { model: id, tokens: context }), code: "context_length_exceeded" };
    }
    if (end === "failed") message.error = { message: i18next.t("device.broke"), code: null };
    this.keep();
    await this.writing;
    this.tell({ type: "end", reply: { ...message } });
    this.isOver();
  }
}

const live = new Map<string, Live>();

/** The name of the lock that whoever writes a reply holds. */
const lockOf = (reply: string) => `denken.reply.${reply}`;

export const device: Home = {
  async read(id) {
    const found = await store.conversation(id);
    if (found === null) throw new Refusal("", 404, null);
    const cutOff = await withoutWriter(found.messages);
    for (const message of cutOff) {
      message.state = "failed";
      message.stream = null;
      message.error = { message: i18next.t("device.interrupted"), code: null };
      await store.rewrite(id, message);
    }
    return found;
  },

  make: async () => store.newId(),

  async ask(id, turn) {
    const ready = await model().catch((error: unknown) => {
      throw said(error);
    });
    const before = await store.conversation(id);
    const { user, reply, asked } = begin(before?.messages ?? [], turn);
    const created = before?.created ?? user?.created ?? reply.created;
    const title = before?.title || titleOf(asked.question);
    let begun: (begun: Begun) => void;
    let failed: (error: unknown) => void;
    const result = new Promise<Begun>((resolve, reject) => ([begun, failed] = [resolve, reject]));
    void navigator.locks.request(lockOf(reply.id), async () => {
      try {
        await store.write({ id, title, created, updated: reply.created, head: reply.id }, user ? [user, reply] : [reply]);
        const writing = new Live(id, ready, asked, user, reply);
        live.set(reply.id, writing);
        begun(device.resume(reply.id));
        await writing.over;
        live.delete(reply.id);
      } catch (error) {
        failed(error);
      }
    });
    return result;
  },

  resume: (stream) => {
    const writing = live.get(stream);
    if (writing) return { stream, hear: ({ on, signal }) => writing.hear(on, signal) };
    // Another tab writes it: when its lock is free, the record says how it ended.
    const hear = ({ signal }: Listening) => navigator.locks.request(lockOf(stream), { mode: "shared", signal }, () => undefined);
    return { stream, hear };
  },

  async stop(stream) {
    live.get(stream)?.stop();
  },

  show: (conversation, head) => store.change(conversation, { head }),
};

/** Ends the replies of a conversation that is going away. */
export function stopAll(conversation: string): void {
  for (const writing of live.values()) if (writing.conversation === conversation) writing.stop();
}

/** The messages of a turn, and what the model is asked. */
function begin(messages: readonly Message[], { parent, content, thinking, effort, model }: Turn) {
  const created = Math.max(Date.now(), ...messages.map((message) => message.created + 1));
  const user: Message | null =
    content === null ? null : { ...BLANK, id: store.newId(), parent, role: "user", content, created, thinking: false, state: "done" };
  const id = store.newId();
  const reply: Message = { ...BLANK, id, parent: user?.id ?? parent, role: "assistant", model, thinking, created: created + 1, state: "running", stream: id };
  const way = [...upTo(messages, parent), ...(user ? [user] : [])];
  const leftOut = way.findLast((message) => message.role === "assistant")?.left_out ?? 0;
  return { user, reply, asked: { ...exchanges(way), thinking, effort, leftOut } };
}

/** The branch from its first message to this one. */
function upTo(messages: readonly Message[], last: string | null): Message[] {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const way: Message[] = [];
  for (let at = byId.get(last ?? ""); at && !way.includes(at); at = byId.get(at.parent ?? "")) way.unshift(at);
  return way;
}

/** Those that are said to be in the making, and nobody writes them. */
async function withoutWriter(messages: Conversation["messages"]): Promise<Message[]> {
  const running = messages.filter((message) => message.state === "running");
  if (running.length === 0) return [];
  const { held = [] } = await navigator.locks.query();
  const names = new Set(held.map((lock) => lock.name));
  return running.filter((message) => !names.has(lockOf(message.id)));
}

function said(error: unknown): Error {
  if (!(error instanceof NoModel)) return error as Error;
  return new Error(i18next.t(error.why === "broken" ? "device.broken" : error.why === "damaged" ? "device.damaged" : "device.missing"));
}

const BLANK = {
  content: "",
  thought: "",
  model: null,
  error: null,
  steps: [],
  sources: [],
  attachments: [],
  search: [],
  usage: null,
  thought_seconds: 0,
  seconds: 0,
  cost_usd: 0,
  o1_usd: null,
  stream: null,
} satisfies Partial<Message>;
