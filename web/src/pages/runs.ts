// Training runs as the server reports them (docs/serve.md), and asking for them again and again while one is running.

import { useEffect, useRef, useState } from "react";

import { getJson, Unreachable } from "../api";
import { problemOf } from "../problem";

export interface RunLine {
  name: string;
  /** The algorithm of its rewards; "sample" where it learns from its own answers, "learn" where from texts. */
  kind: string;
  started: number;
  updated: number;
  running: boolean;
  step: number;
  steps: number | null;
  seconds: number | null;
  cost_usd: number | null;
}

export type Points = [number, number][];

export interface Run extends RunLine {
  recipe: string;
  ledger: Record<string, number>;
  series: Record<string, Points>;
  complete: boolean;
}

export interface Sample {
  task: string;
  prompt: string;
  expected: string;
  thought: string;
  answer: string;
  tokens: number | null;
  reward: number | null;
  advantage: number | null;
  cut: boolean;
  parts: Record<string, number>;
}

export interface Rollouts {
  steps: number[];
  step: number | null;
  samples: Sample[];
  complete: boolean;
}

const AGAIN_MS = 5000;
const GOING_ON_MS = 3000;
const REST_MS = 200;

export interface Polled<T> {
  value: T | null;
  problem: string;
}

/** Asks once, and again after what `wait` says of the answer in milliseconds, until it says null; never unseen. */
export function usePolled<T>(path: string, wait: (value: T) => number | null): Polled<T> {
  const [polled, setPolled] = useState<Polled<T>>({ value: null, problem: "" });
  const latest = useRef(wait);
  latest.current = wait;
  useEffect(() => {
    setPolled({ value: null, problem: "" });
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async () => {
      if (document.visibilityState !== "visible") {
        timer = setTimeout(() => void ask(), AGAIN_MS);
        return;
      }
      let after: number | null = AGAIN_MS;
      try {
        const value = await getJson<T>(path, abort.signal);
        setPolled({ value, problem: "" });
        after = latest.current(value);
      } catch (error) {
        if (abort.signal.aborted) return;
        setPolled((before) => ({ ...before, problem: problemOf(error) }));
        after = error instanceof Unreachable ? AGAIN_MS : null;
      }
      if (after !== null && !abort.signal.aborted) timer = setTimeout(() => void ask(), after);
    };
    void ask();
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [path]);
  return polled;
}

export const whileAnyRuns = ({ runs }: { runs: RunLine[] }) => (runs.some((run) => run.running) ? AGAIN_MS : null);
export const whileItRuns = (run: Run) => (!run.complete ? REST_MS : run.running ? GOING_ON_MS : null);
