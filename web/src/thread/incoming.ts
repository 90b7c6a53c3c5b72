// A reply that is coming in: its events are gathered here and become a new message when the page asks for one.

import type { Message, Source, Step, TurnEvent } from "../types";

export class Incoming {
  /** Of the reply; null before it has begun. */
  id: string | null = null;
  isNew = false;
  private thought = "";
  private content = "";
  private steps: Step[] = [];
  private sources: Source[] = [];
  private error: Message["error"] = null;
  private final: Message | null = null;
  private readonly since = Date.now();
  private thoughtSeconds = 0;

  constructor(readonly stream: string) {}

  take(event: TurnEvent): void {
    this.isNew = true;
    switch (event.type) {
      case "begin":
        this.id = event.reply.id;
        break;
      case "think":
        this.thought += event.text;
        break;
      case "answer":
        if (!this.content) this.thoughtSeconds = (Date.now() - this.since) / 1000;
        this.content += event.text;
        break;
      case "search":
        this.steps = [...this.steps, { query: event.query, at: [...this.thought].length, seconds: -1, problem: "", sources: [] }];
        break;
      case "found":
        this.found(event);
        break;
      case "end":
        this.final = event.reply;
        break;
      case "error":
        this.error = { message: event.message, code: event.code };
    }
  }

  /** The message with everything that has arrived; what the page read before stays until this is as far again. */
  applied(message: Message): Message {
    this.isNew = false;
    if (this.final) return this.final;
    const { thought, content, steps, sources, error } = this;
    if (error === null && thought.length + content.length < message.thought.length + message.content.length) return message;
    const state = error === null ? message.state : error.code === "stream_stopped" ? "stopped" : "failed";
    const thought_seconds = message.thought_seconds || this.thoughtSeconds;
    return { ...message, thought, content, steps, sources, error, state, thought_seconds, stream: this.stream };
  }

  private found({ query, sources, problem, seconds }: TurnEvent & { type: "found" }): void {
    const numbers = sources.map((source) => source.number);
    const at = this.steps.findLastIndex((step) => step.seconds < 0);
    const step = { query, problem, seconds, sources: numbers };
    if (at < 0) this.steps = [...this.steps, { ...step, at: [...this.thought].length }];
    else this.steps = this.steps.with(at, { ...this.steps[at]!, ...step });
    this.sources = [...this.sources, ...sources];
  }
}

/** Whether a search is still under way. */
export function isPending(step: Step): boolean {
  return step.seconds < 0;
}
