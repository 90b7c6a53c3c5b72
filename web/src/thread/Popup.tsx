// A button with a small surface that opens over the page: the browser's own popover, so that Escape, a click elsewhere
// and the focus are its affair. On a phone it is a sheet at the bottom (thread.css).

import { type ReactNode, useId, useRef, useState } from "react";

const EDGE = 8;

/** Puts a surface beside what opened it, on the side that has more room. Its size need not be known. */
export function place(surface: HTMLElement, anchor: Element): void {
  const { top, bottom, left, right } = anchor.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const isLow = top > innerHeight / 2;
  const isRight = (left + right) / 2 > width / 2;
  surface.style.inset = [
    isLow ? "auto" : `${bottom + EDGE}px`,
    isRight ? `${Math.max(EDGE, width - right)}px` : "auto",
    isLow ? `${innerHeight - top + EDGE}px` : "auto",
    isRight ? "auto" : `${Math.max(EDGE, left)}px`,
  ].join(" ");
  surface.style.maxHeight = `${(isLow ? top : innerHeight - bottom) - 2 * EDGE}px`;
}

interface Props {
  /** What the button says to those who do not see it. */
  label: string;
  button: ReactNode;
  className?: string;
  /** Made only while it is open. */
  children: () => ReactNode;
}

export function Popup({ label, button, className = "quiet", children }: Props) {
  const id = useId();
  const anchor = useRef<HTMLButtonElement>(null);
  const [open, setOpen] = useState(false);
  return (
    <>
      <button ref={anchor} type="button" className={className} popoverTarget={id} aria-label={label} title={label} aria-expanded={open}>
        {button}
      </button>
      <div
        id={id}
        popover="auto"
        role="dialog"
        aria-label={label}
        className="popup"
        onBeforeToggle={(event) => {
          const opens = event.newState === "open";
          if (opens) place(event.currentTarget, anchor.current!);
          setOpen(opens);
        }}
      >
        {open && children()}
      </div>
    </>
  );
}
