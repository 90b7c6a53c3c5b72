// One conversation as the page knows it: its messages, the branch that is shown, and the replies that are coming in.
//
// A thread lives longer than its page: a reply that runs goes on while another conversation is looked at. What arrives
// is gathered and told once a frame. Nothing here draws.

import { Refusal, Unreachable } from "../api";
import { conversationsChanged } from "../changes";
import { device } from "../device/home";
import { isHere } from "../device/store";
import type { Attachment, Conversation, Message, Turn, TurnEvent } from "../types";
import { type Begun, type Home, server } from "./home";
import { Incoming } from "./incoming";
import { branch } from "./tree";

/** What is shown; a new object whenever it is another. */
export interface View {
  phase: "ready" | "loading" | "missing" | "failed";
  /** What went wrong last, as a sentence for the person. */
  problem: string | null;
  title: string;
  /** The shown branch. */
  path: readonly string[];
  /** The reply at its end that is still coming in. */
  running: string | null;
  /** The connection is lost, and the reply is waited for. */
  lost: boolean;
}

const EMPTY: View = { phase: "ready", problem: null, title: "", path: [], running: null, lost: false };
/** The price of a reply is settled a moment after its end. */
const PRICE_MS = 1500;
const AGAIN_MS = 3000;

let numbers = 0;

export class Thread {
  /** Tells threads apart, also before they have an id. */
  readonly number = (numbers += 1);
  messages: ReadonlyMap<string, Message> = new Map();
  view: View;
  /** Of one that has not begun: the server was gone while it was shown, so it begins on this device, come what may. */
  staysHere = false;
  /** Says where a conversation that begins has its address. */
  onBegun: (id: string) => void = () => undefined;
  private head: string | null = null;
  private readonly seen = new Map<string | null, string>();
  private readonly listeners = new Set<() => void>();
  private readonly incoming = new Map<string, Incoming>();
  private readonly following = new Map<string, AbortController>();
  private scheduled = false;
  private asking = false;
  /** How often something was asked here, and how often a reply to it began. */
  private turns = 0;
  /** The conversation that was made for a first question which was not taken yet. */
  private made: string | null = null;
  private home: Home;
  private stopWanted = false;

  constructor(public id: string | null) {
    this.view = id === null ? EMPTY : { ...EMPTY, phase: "loading" };
    this.home = id !== null && isHere(id) ? device : server;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  get isBusy(): boolean {
    return this.following.size > 0 || this.asking;
  }

  /** Reads the conversation; what is coming in stays as it is. */
  async load(): Promise<void> {
    if (this.id === null) return;
    const { turns } = this;
    try {
      const conversation = await this.home.read(this.id);
      this.adopt(conversation, this.asking || this.turns !== turns);
    } catch (error) {
      // What was read before stays; a page that is without the server shows it.
      if (this.view.phase === "ready") return;
      this.tell({ phase: error instanceof Refusal && error.status === 404 ? "missing" : "failed", problem: sentence(error) });
    }
  }

  /**
   * Asks; attachments are shown with the question at once. here: on this device, where the conversation begins with it.
   * Raises what is refused, and then nothing is changed.
   */
  async ask(turn: Turn, attachments: Attachment[] = [], here = false): Promise<void> {
    this.settle(here ? device : server);
    const before = { messages: this.messages, head: this.head };
    this.asking = true;
    this.stopWanted = false;
    this.sketch(turn, attachments);
    try {
      const id = this.id ?? (this.made ??= await this.home.make());
      const begun = await this.home.ask(id, turn);
      this.hasBegun(id);
      void this.follow(begun, null);
      if (this.stopWanted) await this.home.stop(begun.stream);
    } catch (error) {
      this.messages = before.messages;
      this.head = before.head;
      // The server may have taken it before the connection broke.
      if (error instanceof Unreachable && (await this.wasTaken(turn))) return;
      this.tell({});
      throw error;
    } finally {
      this.asking = false;
    }
  }

  /** Another reply to the question that this one answers. */
  async again(reply: string, settings: Omit<Turn, "parent" | "content" | "attachments">): Promise<void> {
    const parent = this.messages.get(reply)?.parent ?? null;
    await this.ask({ ...settings, parent, content: null, attachments: [] });
  }

  /** Ends the reply at the end of the shown branch. */
  async stop(): Promise<void> {
    const message = this.view.running === null ? undefined : this.messages.get(this.view.running);
    const stream = message && (this.incoming.get(message.id)?.stream ?? message.stream);
    if (stream) await this.home.stop(stream);
    else this.stopWanted = true;
  }

  /** Shows the branch that this message is on. */
  show(message: string): void {
    this.head = branch(this.messages, message, this.seen).at(-1)?.id ?? null;
    this.tell({});
    if (this.id !== null && this.head !== null) {
      // Another device sees this branch the next time; without the server this one does at least.
      void this.home.show(this.id, this.head).catch(() => undefined);
    }
  }

  forgetProblem(): void {
    this.tell({ problem: null });
  }

  say(error: unknown): void {
    this.tell({ problem: sentence(error) });
  }

  /** isOlder: it was read before something was asked here; what it lacks of that stays. */
  private adopt(conversation: Conversation, isOlder = false): void {
    const messages = new Map(isOlder ? this.messages : []);
    for (const message of conversation.messages) messages.set(message.id, message);
    for (const id of this.incoming.keys()) {
      const live = this.messages.get(id);
      if (live) messages.set(id, live);
    }
    this.messages = messages;
    if (this.head === null || !messages.has(this.head)) this.head = conversation.head;
    this.tell({ phase: "ready", title: conversation.title });
    for (const { id, state, stream } of conversation.messages) {
      if (state === "running" && stream && !this.incoming.has(id)) void this.follow(this.home.resume(stream), id);
    }
  }

  /** A conversation stays where it began. */
  private settle(home: Home): void {
    if (this.id !== null || home === this.home) return;
    this.home = home;
    this.made = null;
  }

  /** The question and the beginning of its reply, before the server has said anything. */
  private sketch(turn: Turn, attachments: Attachment[]): void {
    this.turns += 1;
    const messages = new Map(this.messages);
    const common = { ...blank, model: turn.model, thinking: turn.thinking, search: turn.search, created: Date.now() };
    let parent = turn.parent;
    if (turn.content !== null) {
      messages.set(SKETCH_QUESTION, { ...common, id: SKETCH_QUESTION, parent, role: "user", content: turn.content, attachments, state: "done" });
      parent = SKETCH_QUESTION;
    }
    messages.set(SKETCH_REPLY, { ...common, id: SKETCH_REPLY, parent, role: "assistant", state: "running" });
    this.messages = messages;
    this.head = SKETCH_REPLY;
    this.tell({ problem: null });
  }

  private hasBegun(id: string): void {
    if (this.id !== null) return;
    this.id = id;
    keep(id, this);
    this.onBegun(id);
  }

  private async wasTaken(turn: Turn): Promise<boolean> {
    const id = this.id ?? this.made;
    if (id === null) return false;
    try {
      const conversation = await this.home.read(id);
      const reply = conversation.messages.find((message) => message.role === "assistant" && !this.messages.has(message.id));
      const question = conversation.messages.find((message) => message.id === reply?.parent);
      if (!reply || (turn.content === null ? reply.parent !== turn.parent : question?.content !== turn.content)) return false;
      this.head = reply.id;
      this.hasBegun(id);
      this.adopt(conversation);
      return true;
    } catch {
      return false;
    }
  }

  /** Hears a reply to its end. id: of the reply, where it is known. */
  private async follow({ stream, hear }: Begun, id: string | null): Promise<void> {
    const ending = new AbortController();
    const incoming = new Incoming(stream);
    this.following.set(stream, ending);
    if (id !== null) this.incoming.set(id, incoming);
    const on = (event: TurnEvent) => {
      if (event.type === "begin") this.begun(event, incoming);
      incoming.take(event);
      this.schedule();
    };
    try {
      await hear({ signal: ending.signal, on, onLost: (lost) => this.view.lost !== lost && this.tell({ lost }) });
    } finally {
      this.flush();
      this.following.delete(stream);
      if (incoming.id !== null) this.incoming.delete(incoming.id);
      if (id !== null) this.incoming.delete(id);
    }
    await this.ended(incoming);
  }

  private begun(event: TurnEvent & { type: "begin" }, incoming: Incoming): void {
    const messages = new Map(this.messages);
    const wasSketch = messages.delete(SKETCH_REPLY);
    messages.delete(SKETCH_QUESTION);
    if (event.user) messages.set(event.user.id, event.user);
    if (!messages.has(event.reply.id)) messages.set(event.reply.id, event.reply);
    this.messages = messages;
    this.incoming.set(event.reply.id, incoming);
    if (wasSketch) {
      this.turns += 1;
      this.head = event.reply.id;
    }
    this.tell({});
    conversationsChanged();
  }

  /** The server's record is the truth, and its title and price come with it. */
  private async ended(incoming: Incoming): Promise<void> {
    await this.load();
    conversationsChanged();
    const reply = incoming.id === null ? undefined : this.messages.get(incoming.id);
    if (!reply || this.incoming.has(reply.id)) return;
    // Without its record it is not known how it ended: the server is asked until it answers.
    if (reply.state === "running") setTimeout(() => void this.ended(incoming), AGAIN_MS);
    else if (reply.cost_usd === null) setTimeout(() => void this.load(), PRICE_MS);
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    // A page in the background has no frames.
    if (document.hidden) setTimeout(this.flush, 250);
    else requestAnimationFrame(this.flush);
  }

  private flush = (): void => {
    this.scheduled = false;
    let messages: Map<string, Message> | null = null;
    for (const [id, incoming] of this.incoming) {
      const message = this.messages.get(id);
      if (!message || !incoming.isNew) continue;
      messages ??= new Map(this.messages);
      messages.set(id, incoming.applied(message));
    }
    if (messages === null) return;
    this.messages = messages;
    this.tell({}, this.view.path);
  };

  /** path: the shown branch, where it is known that it is the same as before. */
  private tell(change: Partial<View>, path = this.path()): void {
    const last = this.messages.get(path.at(-1) ?? "");
    const running = last?.state === "running" ? last.id : null;
    const next = { ...this.view, lost: running !== null && this.view.lost, ...change, path, running };
    const keys = Object.keys(next) as (keyof View)[];
    if (keys.some((name) => next[name] !== this.view[name])) this.view = next;
    for (const listener of this.listeners) listener();
  }

  private path(): readonly string[] {
    const ids = branch(this.messages, this.head, this.seen).map((message) => message.id);
    ids.forEach((id, at) => this.seen.set(ids[at - 1] ?? null, id));
    const shown = this.view.path;
    return ids.length === shown.length && ids.every((id, at) => id === shown[at]) ? shown : ids;
  }
}

const SKETCH_QUESTION = "sketch-question";
const SKETCH_REPLY = "sketch-reply";

/** Whether a message is only what this page expects; it cannot be branched from yet. */
export function isSketch(id: string): boolean {
  return id === SKETCH_QUESTION || id === SKETCH_REPLY;
}

const blank = {
  content: "",
  thought: "",
  error: null,
  steps: [],
  sources: [],
  attachments: [],
  usage: null,
  thought_seconds: 0,
  seconds: 0,
  cost_usd: null,
  o1_usd: null,
  stream: null,
} satisfies Partial<Message>;

/** What is said of an error; of a server that was not reached, what i18n knows under this name. */
export const UNREACHABLE = "thread.unreachable";

export function sentence(error: unknown): string {
  if (error instanceof Unreachable) return UNREACHABLE;
  return error instanceof Error ? error.message : String(error);
}

const KEPT = 12;
const threads = new Map<string, Thread>();
let draft = new Thread(null);

function keep(id: string, thread: Thread): void {
  threads.delete(id);
  threads.set(id, thread);
  for (const [old, { isBusy }] of threads) if (threads.size > KEPT && !isBusy && old !== id) threads.delete(old);
}

/** The thread of a conversation; null: of one that has not begun. */
export function threadOf(id: string | null): Thread {
  if (id === null) {
    if (draft.view.path.length > 0) draft = new Thread(null);
    return draft;
  }
  const thread = threads.get(id) ?? new Thread(id);
  keep(id, thread);
  return thread;
}
