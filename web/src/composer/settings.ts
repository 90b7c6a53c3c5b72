// How the next question is asked: which model, whether it thinks, how much, and where it may look things up. Kept on
// this device for all conversations; what the server in use does not offer is left aside, not forgotten.

import { useSyncExternalStore } from "react";

import type { Effort, Model, Places, State, Turn } from "../types";

export interface Settings {
  model: string | null;
  thinking: boolean;
  effort: Effort;
  searching: boolean;
  places: Places[];
}

const KEPT = "denken.composer";
const FIRST: Settings = { model: null, thinking: true, effort: "medium", searching: false, places: ["web", "library"] };

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

/** The part of a turn that the switches decide. */
export function asTurn(chosen: Settings, state: State | null): Omit<Turn, "parent" | "content" | "attachments"> {
  const model = modelInUse(chosen, state);
  const thinking = chosen.thinking || model?.about.thinks === "always";
  return {
    model: model?.id ?? null,
    thinking,
    effort: thinking ? chosen.effort : null,
    search: chosen.searching ? placesInUse(chosen, state) : [],
  };
}
