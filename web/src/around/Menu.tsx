// A button and the menu under it: a native popover, which closes by itself, with the arrow keys of a menu.

import { type KeyboardEvent, type ReactNode, type ToggleEvent, useId, useRef, useState } from "react";

export interface Item {
  label: string;
  run: () => void;
  danger?: boolean;
}

interface Props {
  label: string;
  className?: string;
  children: ReactNode;
  items: () => Item[];
}

/** children: the button's face. items: asked for when it opens, so that a long list of menus costs nothing. */
export function Menu({ label, className = "square", children, items }: Props) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const popover = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);
  const toggled = (event: ToggleEvent<HTMLDivElement>) => {
    // Not sooner: what holds the focus has to be there still when the browser gives it back to the button.
    if (event.newState !== "open") return setOpen(false);
    place(popover.current!, button.current!);
    popover.current!.querySelector<HTMLElement>("[role=menuitem]")?.focus();
  };
  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open}
        popoverTarget={id}
      >
        {children}
      </button>
      <div
        ref={popover}
        id={id}
        popover="auto"
        role="menu"
        aria-label={label}
        className="options"
        onBeforeToggle={(event) => event.newState === "open" && setOpen(true)}
        onToggle={toggled}
        onKeyDown={(event) => walk(event, popover.current!)}
      >
        {open &&
          items().map((item) => (
            <button
              key={item.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              className={item.danger ? "danger" : undefined}
              onClick={() => {
                popover.current!.hidePopover();
                item.run();
              }}
            >
              {item.label}
            </button>
          ))}
      </div>
    </>
  );
}

/** Under the button, or above it where there is no room below; never beyond the window's edges. */
function place(menu: HTMLElement, button: HTMLElement): void {
  const [from, { width, height }, edge] = [button.getBoundingClientRect(), menu.getBoundingClientRect(), 8];
  const below = from.bottom + 4;
  const top = below + height > innerHeight - edge ? from.top - height - 4 : below;
  menu.style.top = `${Math.max(edge, top)}px`;
  menu.style.left = `${Math.max(edge, Math.min(from.left, innerWidth - width - edge))}px`;
}

function walk(event: KeyboardEvent, menu: HTMLElement): void {
  const items = [...menu.querySelectorAll<HTMLElement>("[role=menuitem]")];
  const here = items.indexOf(document.activeElement as HTMLElement);
  const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: items.length - 1 }[event.key];
  if (event.key === "Tab") menu.hidePopover();
  if (to === undefined) return;
  event.preventDefault();
  items[(to + items.length) % items.length]?.focus();
}
