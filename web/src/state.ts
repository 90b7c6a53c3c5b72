// What the server says of itself (GET /app/state): read once for the whole page, and again only when somebody asks.

import { useSyncExternalStore } from "react";

import { getJson } from "./api";
import type { State } from "./types";

/** state: null until it was read. problem: why it could not be. */
export interface Told {
  state: State | null;
  problem: Error | null;
}

let told: Told = { state: null, problem: null };
let asked = false;
const listeners = new Set<() => void>();

function tell(next: Told): void {
  told = next;
  for (const listener of listeners) listener();
}

/** Reads it again; what was known stays shown meanwhile. */
export async function readState(): Promise<void> {
  asked = true;
  try {
    tell({ state: await getJson<State>("/app/state"), problem: null });
  } catch (error) {
    tell({ state: told.state, problem: error as Error });
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  if (!asked) void readState();
  return () => listeners.delete(listener);
}

export function useServerState(): Told {
  return useSyncExternalStore(subscribe, () => told);
}
