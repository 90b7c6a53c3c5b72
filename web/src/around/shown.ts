// What of the surroundings is open: the sidebar, the drawer of a phone, one dialog. Kept outside of React, for keys,
// menus and pages all open and close it.

import { useSyncExternalStore } from "react";

export type Opened = { name: "settings" } | { name: "shortcuts" } | { name: "device" } | { name: "share"; id: string } | null;

interface Shown {
  /** On wide screens; remembered. */
  sidebar: boolean;
  /** On narrow ones. */
  drawer: boolean;
  dialog: Opened;
}

const SIDEBAR = "denken.sidebar";
const WIDE = matchMedia("(min-width: 48rem)");

let shown: Shown = { sidebar: localStorage.getItem(SIDEBAR) !== "closed", drawer: false, dialog: null };
const listeners = new Set<() => void>();

function set(change: Partial<Shown>): void {
  shown = { ...shown, ...change };
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useShown(): Shown {
  return useSyncExternalStore(subscribe, () => shown);
}

function subscribeWide(listener: () => void): () => void {
  WIDE.addEventListener("change", listener);
  return () => WIDE.removeEventListener("change", listener);
}

export function useWide(): boolean {
  return useSyncExternalStore(subscribeWide, () => WIDE.matches);
}

export function open(dialog: Opened): void {
  set({ dialog });
}

export function showSidebar(sidebar: boolean): void {
  localStorage.setItem(SIDEBAR, sidebar ? "open" : "closed");
  set({ sidebar });
}

export function showDrawer(drawer: boolean): void {
  if (drawer !== shown.drawer) set({ drawer });
}

export function toggleSidebar(): void {
  if (WIDE.matches) showSidebar(!shown.sidebar);
  else showDrawer(!shown.drawer);
}

/** Opens whatever holds the search of conversations, and goes to it. */
export function goToSearch(): void {
  if (WIDE.matches) showSidebar(true);
  else showDrawer(true);
  requestAnimationFrame(() => document.getElementById("search")?.focus());
}
