// Short notices at the lower edge, each for a while, with one thing that can be done about it.

import { useEffect, useState, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";

import { CloseIcon } from "./icons";

const SHOWN_MS = 10_000;

interface Toast {
  id: number;
  text: string;
  action?: { label: string; run: () => void };
}

let toasts: Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

function set(next: Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

export function notify(text: string, action?: Toast["action"]): void {
  set([...toasts.slice(-2), { id: ++last, text, action }]);
}

function drop(id: number): void {
  set(toasts.filter((toast) => toast.id !== id));
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  return (
    <div className="toasts" role="status">
      {shown.map((toast) => (
        <Shown key={toast.id} toast={toast} />
      ))}
    </div>
  );
}

/** Its time stands still while it is pointed at or holds the focus. */
function Shown({ toast }: { toast: Toast }) {
  const { t } = useTranslation();
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (held) return;
    const timer = setTimeout(() => drop(toast.id), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [toast.id, held]);
  const act = () => {
    drop(toast.id);
    toast.action?.run();
  };
  return (
    <div
      className="toast"
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
    >
      <span>{toast.text}</span>
      {toast.action && (
        <button type="button" className="plain" onClick={act}>
          {toast.action.label}
        </button>
      )}
      <button type="button" className="square" aria-label={t("around.dismiss")} onClick={() => drop(toast.id)}>
        <CloseIcon />
      </button>
    </div>
  );
}
