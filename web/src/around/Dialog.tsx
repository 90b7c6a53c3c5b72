// A native modal dialog with a heading and a cross. The browser keeps the focus within and gives it back afterwards.

import { type PointerEvent, type ReactNode, useId, useLayoutEffect, useRef } from "react";
import { useTranslation } from "react-i18next";

import { CloseIcon } from "./icons";

interface Props {
  title: string;
  className?: string;
  onClose: () => void;
  children: ReactNode;
}

/** Open as long as it is rendered; Esc, the cross and a tap beside it ask to close it. What has `data-first` in it gets
 * the focus (React's `autoFocus` is too early for a dialog).
 */
export function Dialog({ title, className = "", onClose, children }: Props) {
  const { t } = useTranslation();
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useLayoutEffect(() => {
    const dialog = ref.current!;
    dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => dialog.close(); // before it is taken out, for only then does the focus go back
  }, []);
  return (
    <dialog
      ref={ref}
      className={`dialog ${className}`}
      aria-labelledby={heading}
      onClose={() => ref.current?.open || onClose()}
      onPointerDown={(event) => isBeside(event) && onClose()}
    >
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" className="square" aria-label={t("around.close")} onClick={onClose}>
          <CloseIcon />
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** Whether a pointer is on the backdrop: its events are the dialog's, from outside of its box. */
export function isBeside(event: PointerEvent<HTMLDialogElement>): boolean {
  if (event.target !== event.currentTarget) return false;
  const box = event.currentTarget.getBoundingClientRect();
  const { clientX: x, clientY: y } = event;
  return x < box.left || x > box.right || y < box.top || y > box.bottom;
}
