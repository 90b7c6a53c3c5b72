// Rendering that can wait is done a little in each frame, what is in sight first, so that the page answers meanwhile.
//
// A long text that is there at once (a reload, a thought that is opened) comes as plain letters and gets its formulas
// and colours over some frames; one that streams gets them at once, for there is little in each frame.

import { type RefObject, useEffect, useLayoutEffect, useState } from "react";
import { flushSync } from "react-dom";

/** Milliseconds of each frame that go into such work. */
const FRAME_MS = 6;
/** What one group of blocks is reckoned at before anybody knows. */
const GUESS_MS = 4;

interface Job {
  element: Element;
  run: () => void;
}

let spent = 0;
let scheduled = false;
const waiting = new Set<Job>();

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(frame);
}

function frame(): void {
  scheduled = false;
  spent = 0;
  while (waiting.size > 0 && spent < FRAME_MS) {
    const job = first();
    waiting.delete(job);
    timed(job.run);
  }
  if (waiting.size > 0) schedule();
}

/** The first that can be seen, else the first. */
function first(): Job {
  for (const job of waiting) {
    const { top, bottom } = job.element.getBoundingClientRect();
    if (bottom > 0 && top < innerHeight && bottom > top) return job;
  }
  return waiting.values().next().value!;
}

function timed(run: () => void): void {
  const began = performance.now();
  run();
  spent += performance.now() - began;
  schedule();
}

/** Whether this frame has time left for more than what is there already. */
function hasTime(): boolean {
  return spent < FRAME_MS && waiting.size === 0;
}

/** Runs in one of the next frames. Returns how to call it off. */
function later(element: Element, run: () => void): () => void {
  const job = { element, run };
  waiting.add(job);
  schedule();
  return () => waiting.delete(job);
}

/** Does something to an element, at once if there is time, and again when `of`, on which `work` depends, has changed. */
export function useWork(ref: RefObject<HTMLElement | null>, work: (element: HTMLElement) => void, of: unknown[]): void {
  useLayoutEffect(() => {
    const element = ref.current!;
    if (!hasTime()) return later(element, () => work(element));
    timed(() => work(element));
  }, of);
}

/** Whether it is this element's turn to be shown in full. */
export function useTurn(ref: RefObject<HTMLElement | null>): boolean {
  const [ready, setReady] = useState(() => {
    if (!hasTime()) return false;
    spent += GUESS_MS;
    return true;
  });
  useEffect(() => {
    schedule();
    if (ready) return;
    // At once, so that what it takes is counted.
    return later(ref.current!, () => flushSync(() => setReady(true)));
  }, [ready, ref]);
  return ready;
}
