// Whether the server can be reached: told by every request, and found out again by itself while it cannot.

import { useSyncExternalStore } from "react";

const AGAIN_MS = 5000;

let reached = navigator.onLine !== false; // a device without any network knows it
let timer: ReturnType<typeof setTimeout> | undefined;
const listeners = new Set<() => void>();
const returned = new Set<() => void>();

/** Every request says here whether an answer came, whatever it was. */
export function heard(answer: boolean): void {
  clearTimeout(timer);
  if (!answer) timer = setTimeout(() => void tryAgain(), AGAIN_MS);
  if (answer === reached) return;
  reached = answer;
  for (const listener of listeners) listener();
  if (answer) for (const listener of returned) listener();
}

/** Asks the server whether it is there; nothing is told of whoever asks. */
export async function tryAgain(): Promise<void> {
  try {
    await fetch("/health", { cache: "no-store" });
    heard(true);
  } catch {
    heard(false);
  }
}

/** Calls back each time when the server is there again, for what has to be read anew. */
export function onReturn(listener: () => void): void {
  returned.add(listener);
}

function lost(): void {
  heard(false);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  // What is listening already is not added again.
  addEventListener("online", tryAgain);
  addEventListener("offline", lost);
  return () => listeners.delete(listener);
}

export function useReached(): boolean {
  return useSyncExternalStore(subscribe, () => reached);
}
