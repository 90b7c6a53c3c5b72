// The thought and its searches as one sequence: a stretch of thought, a search, the next stretch.

import type { Step } from "../types";

export type Part = { kind: "text"; text: string } | { kind: "step"; step: Step };

/** Parts in their order; a search stands behind the letters that came before it. */
export function parts(thought: string, steps: readonly Step[]): Part[] {
  const found: Part[] = [];
  let from = 0;
  for (const step of steps) {
    const at = Math.max(from, place(thought, step.at));
    if (thought.slice(from, at).trim()) found.push({ kind: "text", text: thought.slice(from, at) });
    found.push({ kind: "step", step });
    from = at;
  }
  if (thought.slice(from).trim()) found.push({ kind: "text", text: thought.slice(from) });
  return found;
}

/** The server counts characters; JavaScript counts those beyond the first 65,536 twice. */
function place(text: string, characters: number): number {
  const head = text.slice(0, characters);
  if (!/[\uD800-\uDFFF]/.test(head)) return characters;
  return [...text].slice(0, characters).join("").length;
}
