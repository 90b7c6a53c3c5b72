// The question for a key: asked once however many requests wait for it, and not again by itself once it was declined.
//
// A link with `#key=...`, as `denken serve --lan` shows it as a QR code, brings one along. The part behind `#` is not
// sent to any server; it is taken out of the address at once. It does not replace a key that is in use: else a
// stranger's link could make somebody talk under the stranger's key.

import { useSyncExternalStore } from "react";

import { key, keepKey, onKeyWanted } from "../api";
import { readState } from "../state";

/** A question that is open. wrong: the server did not know the key that was sent. */
export interface Asking {
  wrong: boolean;
  answer: (given: boolean) => void;
}

let asking: Asking | null = null;
let waiting: Promise<boolean> | null = null;
let declined = false;
let brought: string | null = null;
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function show(next: Asking | null): void {
  asking = next;
  for (const listener of listeners) listener();
}

export function useAsking(): Asking | null {
  return useSyncExternalStore(subscribe, () => asking);
}

/** Call once, before the first request. */
export function listenForKeys(): void {
  onKeyWanted(wanted);
  brought = keyIn(location.hash);
  if (brought === null) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  if (key() === null) takeBrought();
}

/** What a fragment brings: visible ASCII, as keys are.
 *
 * keyIn("#key=sk-denken-1") is "sk-denken-1"; keyIn("#top") is null.
 */
export function keyIn(fragment: string): string | null {
  return /^#key=([!-~]{1,200})$/.exec(fragment)?.[1] ?? null;
}

function takeBrought(): void {
  keepKey(brought!, true);
  brought = null;
}

async function wanted(wrong: boolean): Promise<boolean> {
  if (brought !== null) {
    takeBrought();
    return true;
  }
  if (declined) return false;
  waiting ??= ask(wrong).finally(() => (waiting = null));
  return waiting;
}

async function ask(wrong: boolean): Promise<boolean> {
  const given = await new Promise<boolean>((answer) => show({ wrong, answer }));
  show(null);
  declined = !given;
  return given;
}

/** Asks after all, where it was declined before. */
export async function enterKey(): Promise<void> {
  declined = false;
  await readState();
}
