// A formula by KaTeX, which may neither load, link nor style anything (`trust` off) and is bounded in what it expands
// and how large it gets. Until KaTeX is there, and for what it cannot read, the source is shown.

import type katex from "katex";
import { useRef, useSyncExternalStore } from "react";

import { DISPLAY } from "./inline";
import { useWork } from "./turns";

const MOST_LETTERS = 4000;

let library: typeof katex | null = null;
let loading = false;
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  if (!loading) void load();
  return () => listeners.delete(listener);
}

async function load(): Promise<void> {
  loading = true;
  try {
    await import("katex/dist/katex.min.css");
    library = (await import("katex")).default;
    for (const listener of listeners) listener();
  } catch {
    // Without a connection it stays with the source; the next formula tries again.
    loading = false;
  }
}

/** source: LaTeX without delimiters; one that begins with `DISPLAY` has a line of its own. open: it is half there. */
export function Formula({ source, display = false, open = false }: { source: string; display?: boolean; open?: boolean }) {
  const isDisplay = display || source.startsWith(DISPLAY);
  const text = source.replace(DISPLAY, "");
  // The element is KaTeX's once it has written to it, so another formula gets another element.
  return <Typeset key={`${open} ${isDisplay} ${text}`} text={text} display={isDisplay} open={open} />;
}

function Typeset({ text, display, open }: { text: string; display: boolean; open: boolean }) {
  const ref = useRef<HTMLElement>(null);
  const loaded = useSyncExternalStore(
    subscribe,
    () => library,
    () => null,
  );
  useWork(ref, (element) => loaded && !open && typeset(loaded, text, display, element), [loaded]);
  return (
    <span ref={ref} className={`formula${display ? " display" : ""}${open ? " open" : ""}`}>
      <code>{text}</code>
    </span>
  );
}

/** The letters of nearly all formulas: one that comes later lays out everything anew. */
const FONTS = ["1em KaTeX_Main", "italic 1em KaTeX_Math", "1em KaTeX_Size1", "1em KaTeX_Size2", "1em KaTeX_AMS"];

/** Loads KaTeX and its letters and sets a formula or two, for nobody to see. */
export async function rehearseFormulas(): Promise<void> {
  if (!loading) await load();
  await Promise.all(FONTS.map((font) => document.fonts.load(font)));
  for (const text of ["x", "\\frac{a_1}{b^2}"]) if (library) typeset(library, text, true, document.createElement("span"));
}

function typeset({ render }: typeof katex, text: string, displayMode: boolean, element: HTMLElement): void {
  if (text.length > MOST_LETTERS) return;
  const made = document.createElement("span");
  try {
    render(text, made, { displayMode, throwOnError: true, trust: false, strict: "ignore", maxExpand: 500, maxSize: 8 });
    element.replaceChildren(...made.childNodes);
  } catch {
    element.classList.add("failed");
  }
}
