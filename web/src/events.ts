// The events of a reply, however often the connection breaks: what was read is numbered, and a new connection goes on
// behind it. The server makes the reply whether anybody listens or not; only `stop` ends it.

import { Refusal, request, sendJson } from "./api";
import type { Turn, TurnEvent } from "./types";

const STREAM_HEADER = "X-Denken-Stream";
/** The server sends something every 10 s; a connection that is silent for longer than this is dead. */
const SILENT_MS = 25_000;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 5_000;
/** Reading goes on for so long before the page may do something else. */
const READING_MS = 8;

export interface Arrived {
  /** Its place in the stream; null for what the server says to this connection alone. */
  number: number | null;
  data: string;
}

/** Server-sent events from pieces of text that begin and end anywhere. */
export class EventReader {
  private rest = "";
  private number: number | null = null;
  private data: string[] = [];

  *read(piece: string): Generator<Arrived> {
    const lines = (this.rest + piece).split("\n");
    this.rest = lines.pop()!;
    for (const line of lines) yield* this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  private *line(line: string): Generator<Arrived> {
    if (line.startsWith("data:")) this.data.push(line.slice(line[5] === " " ? 6 : 5));
    else if (line.startsWith("id:")) this.number = Number(line.slice(line.lastIndexOf("-") + 1));
    else if (line === "" && this.data.length > 0) {
      yield { number: this.number, data: this.data.join("\n") };
      this.number = null;
      this.data = [];
    }
  }
}

/** How a stream came to its end: "done", or "gone" where the server has it no longer and the conversation says more. */
export type End = "done" | "gone";

export interface Listening {
  signal: AbortSignal;
  on: (event: TurnEvent) => void;
  /** Says when the connection is lost and when it is there again. */
  onLost: (lost: boolean) => void;
}

/** Asks; resolves once the server has taken the turn. Raises Refusal and Unreachable. */
export async function postTurn(conversation: string, turn: Turn): Promise<{ stream: string; response: Response }> {
  const response = await request(`/app/conversations/${conversation}/turns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(turn),
  });
  return { stream: response.headers.get(STREAM_HEADER) ?? "", response };
}

/** Ends the reply; one that is over already is no error. */
export async function stopStream(stream: string): Promise<void> {
  try {
    await sendJson("DELETE", `/v1/streams/${stream}`);
  } catch (error) {
    if (!(error instanceof Refusal && error.status === 404)) throw error;
  }
}

/** Hears a stream to its end. first: the response that began it, else it is read from its first event. */
export async function follow(stream: string, first: Response | null, listening: Listening): Promise<End> {
  const seen = { number: 0, over: false };
  let response = first;
  for (let failures = 0; ; failures += 1) {
    const before = seen.number;
    try {
      response ??= await open(stream, seen.number, listening.signal);
      if (response.status === 204) return "done";
      listening.onLost(false);
      await hear(response, seen, listening);
      if (seen.over) return "done";
    } catch (error) {
      if (listening.signal.aborted) throw error;
      if (error instanceof Refusal && error.status < 500 && error.status !== 429) return "gone";
    }
    response = null;
    if (seen.number > before) failures = 0;
    listening.onLost(true);
    await pause(Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS), listening.signal);
  }
}

function open(stream: string, after: number, signal: AbortSignal): Promise<Response> {
  return request(`/v1/streams/${encodeURIComponent(stream)}?after=${after}`, { signal });
}

async function hear(response: Response, seen: { number: number; over: boolean }, { signal, on }: Listening): Promise<void> {
  const reader = new EventReader();
  const body = response.body!.getReader();
  const text = new TextDecoder();
  const watch = new Watch(() => void body.cancel().catch(() => undefined));
  const abort = () => void body.cancel().catch(() => undefined);
  signal.addEventListener("abort", abort);
  try {
    let since = performance.now();
    for (;;) {
      const { done, value } = await body.read();
      signal.throwIfAborted();
      if (done) return;
      watch.heard();
      for (const arrived of reader.read(text.decode(value, { stream: true }))) {
        if (performance.now() - since > READING_MS) {
          await breath();
          signal.throwIfAborted();
          since = performance.now();
        }
        if (take(arrived, seen, on)) return;
      }
    }
  } finally {
    watch.end();
    signal.removeEventListener("abort", abort);
    void body.cancel().catch(() => undefined);
  }
}

/** Whether the stream is over with this event. */
function take({ number, data }: Arrived, seen: { number: number; over: boolean }, on: (event: TurnEvent) => void): boolean {
  if (data === "[DONE]") return (seen.over = true);
  // What has no number is said to this connection alone (the server ends): the next one learns what came of it.
  if (number === null) throw new Error("The server ends this connection.");
  if (number <= seen.number) return false;
  seen.number = number;
  const event = JSON.parse(data) as TurnEvent | { error: { message: string; code: string | null } };
  on("type" in event ? event : { type: "error", ...event.error });
  return false;
}

/** Notices that a connection is silent, also when the device wakes up. */
class Watch {
  private last = performance.now();
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(private readonly dead: () => void) {
    this.timer = setInterval(this.look, 5_000);
    document.addEventListener("visibilitychange", this.look);
  }

  heard(): void {
    this.last = performance.now();
  }

  end(): void {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.look);
  }

  private look = () => {
    if (performance.now() - this.last > SILENT_MS) this.dead();
  };
}

/** Waits, but no longer than until the network or the reader is back. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const end = (how: () => void) => () => {
      over.abort();
      clearTimeout(timer);
      how();
    };
    const timer = setTimeout(end(resolve), milliseconds);
    const options = { signal: over.signal };
    addEventListener("online", end(resolve), options);
    document.addEventListener("visibilitychange", end(resolve), options);
    signal.addEventListener("abort", end(() => reject(signal.reason)), options);
  });
}

/** Lets the page paint and answer; unlike a timer it is not slowed down in the background. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
