// "Install the app", where the browser offers it (Chromium does; others have it in their own menus). The offer comes
// once, early, and is kept until somebody takes it up.

import { useSyncExternalStore } from "react";

interface Offer extends Event {
  prompt(): Promise<{ outcome: "accepted" | "dismissed" }>;
}

let offer: Offer | null = null;
const listeners = new Set<() => void>();

function keep(next: Offer | null): void {
  offer = next;
  for (const listener of listeners) listener();
}

addEventListener("beforeinstallprompt", (event) => {
  event.preventDefault();
  keep(event as Offer);
});
addEventListener("appinstalled", () => keep(null));

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether the app can be installed now. */
export function useInstallOffer(): boolean {
  return useSyncExternalStore(subscribe, () => offer !== null);
}

export async function install(): Promise<void> {
  const taken = offer;
  keep(null); // an offer is good for one question
  await taken?.prompt();
}
