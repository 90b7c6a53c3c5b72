// How the next question is asked: which model, whether it thinks, how much, and where it may look things up. Kept on
// this device for all conversations; what the server in use does not offer is left aside, not forgotten.
//
// A conversation stays where it began: on the server, or on this device. A new one begins on this device if that was
// chosen, or if there is no server to ask; once it has been said where, a server that comes back changes nothing.

import { useEffect, useMemo, useSyncExternalStore } from "react";

import type { Offer } from "../device/file";
import { useOnDevice } from "../device/offer";
import { isHere } from "../device/store";
import { useReached } from "../offline/reach";
import { useServerState } from "../state";
import type { Thread } from "../thread/thread";
import type { Effort, Model, Places, State, Turn } from "../types";

export interface Settings {
  model: string | null;
  /** New conversations begin on this device, where there is a model for it. */
  here: boolean;
  thinking: boolean;
  effort: Effort;
  searching: boolean;
  places: Places[];
}

const KEPT = "denken.composer";
const FIRST: Settings = { model: null, here: false, thinking: true, effort: "medium", searching: false, places: ["web", "library"] };

let settings = read();
const listeners = new Set<() => void>();

function read(): Settings {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Partial<Settings>;
    return { ...FIRST, ...kept };
  } catch {
    return FIRST;
  }
}

export function set(change: Partial<Settings>): void {
  settings = { ...settings, ...change };
  localStorage.setItem(KEPT, JSON.stringify(settings));
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useSettings(): Settings {
  return useSyncExternalStore(subscribe, () => settings);
}

/** The model that is asked: the chosen one where the server has it, else its first. */
export function modelInUse(chosen: Settings, state: State | null): Model | null {
  return state?.models.find((model) => model.id === chosen.model) ?? state?.models[0] ?? null;
}

/** Where a search looks: the chosen places that the server offers. */
export function placesInUse(chosen: Settings, state: State | null): Places[] {
  return (state?.search ?? []).filter((place) => chosen.places.includes(place));
}

/** Who answers the next question of a conversation. here: this device does. model: null where it is not known. */
export interface Answering {
  here: boolean;
  model: Pick<Model, "id" | "about"> | null;
  state: State | null;
}

export function useAnswering(thread: Thread): Answering {
  const chosen = useSettings();
  const { kept } = useOnDevice();
  const { state } = useServerState();
  const reached = useReached();
  useEffect(() => {
    if (!reached && kept && thread.id === null) thread.staysHere = true;
  }, [reached, kept, thread]);
  const { id, staysHere } = thread;
  return useMemo(() => answering({ id, staysHere }, chosen, kept, state, reached), [id, staysHere, chosen, kept, state, reached]);
}

/** Pure. */
export function answering(
  { id, staysHere }: Pick<Thread, "id" | "staysHere">,
  chosen: Settings,
  kept: Offer | null,
  state: State | null,
  reached: boolean,
): Answering {
  const here = id === null ? kept !== null && (chosen.here || staysHere || !reached) : isHere(id);
  return { here, model: here ? kept : modelInUse(chosen, state), state };
}

/** The part of a turn that the switches decide. */
export function asTurn(chosen: Settings, { here, model, state }: Answering): Omit<Turn, "parent" | "content" | "attachments"> {
  const thinking = chosen.thinking || model?.about.thinks === "always";
  return {
    model: model?.id ?? null,
    thinking,
    effort: thinking ? chosen.effort : null,
    search: chosen.searching && !here ? placesInUse(chosen, state) : [],
  };
}
