// The keys that work everywhere, and the list of all that the dialog shows. Those of the composer are the thread's.

import { useEffect } from "react";
import { navigate } from "wouter/use-browser-location";

import { titleOf } from "./conversations";
import { deleteWithUndo } from "./deleting";
import { goToSearch, open, toggleSidebar } from "./shown";

export const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

/** Whether a key goes to the page: not while something is written, nor while a dialog is open. */
function isFree(target: EventTarget | null): boolean {
  return !(target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]"));
}

/** What a press means; null for what is none of ours. */
export function meaning(event: KeyboardEvent): (() => void) | null {
  const command = MAC ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
  const key = event.key.toLowerCase();
  if (event.altKey) return null;
  if (!command) return key === "?" && isFree(event.target) ? () => open({ name: "shortcuts" }) : null;
  if (!event.shiftKey) return key === "k" ? goToSearch : null;
  if (key === "o") return () => navigate("/");
  if (key === "s") return toggleSidebar;
  if (key === "backspace" || key === "delete") return deleteShown;
  return null;
}

function deleteShown(): void {
  const id = /^\/c\/([^/]+)$/.exec(location.pathname)?.[1];
  if (id) void deleteWithUndo({ id, title: titleOf(id) });
}

export function useShortcuts(): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || document.querySelector("dialog.dialog[open]")) return;
      const act = meaning(event);
      if (!act) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
