// The model, as the page has it: a worker that is begun when something is asked and ended when nothing was for a while.

import { url as wasm } from "virtual:wllama/wasm";

import type { Offer } from "./file";
import type { Counted } from "./generate";
import type { Failing, FromWorker, Question, ToWorker } from "./messages";
import { kept, spoil } from "./offer";
import type { Piece } from "./sorter";

/** It holds more than 100 MB of memory. */
const IDLE_MS = 5 * 60_000;

/** There is no model to ask. why "none": none was fetched. */
export class NoModel extends Error {
  constructor(readonly why: Failing | "none") {
    super(why);
  }
}

export interface Ended {
  end: "done" | "cut" | "stopped" | "too_long" | "failed";
  counted: Counted;
  leftOut: number;
}

interface Running {
  said: (pieces: Piece[]) => void;
  ended: (how: Ended) => void;
}

class Model {
  readonly opened: Promise<void>;
  readonly running = new Map<number, Running>();
  private readonly worker = new Worker(new URL("./model.worker.ts", import.meta.url), { type: "module" });
  private numbers = 0;
  private idle: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly offer: Offer) {
    this.opened = new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        if (data.kind === "opened") resolve();
        else if (data.kind === "failed") this.fail(new NoModel(data.why), reject);
        else if (data.kind === "said") this.running.get(data.number)?.said(data.pieces);
        else this.hasEnded(data.number, data);
      };
      this.worker.onerror = () => this.fail(new NoModel("broken"), reject);
    });
    this.opened.catch(() => undefined);
    this.send({ kind: "open", offer, wasm });
    this.rest();
  }

  ask(asked: Question, running: Running): number {
    const number = (this.numbers += 1);
    clearTimeout(this.idle);
    this.running.set(number, running);
    this.send({ kind: "ask", number, asked });
    return number;
  }

  stop(number: number): void {
    this.send({ kind: "stop", number });
  }

  end(): void {
    clearTimeout(this.idle);
    this.worker.terminate();
    if (current === this) current = null;
    for (const { ended } of this.running.values()) ended({ end: "failed", counted: NOTHING, leftOut: 0 });
    this.running.clear();
  }

  private send(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  private fail(error: NoModel, reject: (error: NoModel) => void): void {
    reject(error);
    this.end();
    if (error.why === "missing" || error.why === "damaged") spoil();
  }

  private hasEnded(number: number, how: Ended): void {
    this.running.get(number)?.ended(how);
    this.running.delete(number);
    if (this.running.size === 0) this.rest();
  }

  private rest(): void {
    clearTimeout(this.idle);
    this.idle = setTimeout(() => this.end(), IDLE_MS);
  }
}

const NOTHING: Counted = { prompt_tokens: 0, cached_tokens: 0, thought_tokens: 0, answer_tokens: 0 };
let current: Model | null = null;

/** The model that is kept here, ready to be asked. Raises NoModel. */
export async function model(): Promise<Model> {
  const offer = kept();
  if (offer === null) throw new NoModel("none");
  if (current?.offer.file.sha256 !== offer.file.sha256) current?.end();
  const mine = (current ??= new Model(offer));
  await mine.opened;
  return mine;
}

/** Begins to load it, for a question that is likely to come. */
export function warm(): void {
  if (kept()) void model().catch(() => undefined);
}

export type { Model };
