// What the page and the worker with the model say to each other.

import type { Effort } from "../types";
import type { Counted } from "./generate";
import type { Offer } from "./file";
import type { Piece } from "./sorter";
import type { Exchange } from "./template";

export interface Question {
  history: Exchange[];
  question: string;
  thinking: boolean;
  effort: Effort | null;
  /** Of the history, what the reply before it has left out. */
  leftOut: number;
}

export type ToWorker =
  | { kind: "open"; offer: Offer; wasm: string }
  | { kind: "ask"; number: number; asked: Question }
  | { kind: "stop"; number: number };

/** Why there is no model: its file is not on the device, is not the one that was fetched, or llama.cpp failed. */
export type Failing = "missing" | "damaged" | "broken";

export type FromWorker =
  | { kind: "opened"; memory: number }
  | { kind: "failed"; why: Failing; message: string }
  | { kind: "said"; number: number; pieces: Piece[] }
  | { kind: "ended"; number: number; end: "done" | "cut" | "stopped" | "too_long" | "failed"; counted: Counted; leftOut: number; message: string };
