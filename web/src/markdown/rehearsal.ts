// What a browser does for the first time it does slowly: it loads, compiles, knows no shapes. While nobody waits, the
// parser, KaTeX and the colours of code are gone through once, in small steps, so that the first answer flows.

import { rehearseFormulas } from "./Formula";
import { highlight, highlighter } from "./highlight";
import { rehearse } from "./Prose";

const STEPS: (() => unknown)[] = [
  () => rehearse("A word."),
  () => rehearse("A **word** and `code`, $x$, [a](mailto:b)."),
  () => rehearse("1. one\n2. two\n   - three"),
  () => rehearse("| a | b |\n|---|---|\n| 1 | 2 |\n"),
  rehearseFormulas,
  async () => highlight(await highlighter(), "python", "x = 1  # one"),
];

let begun = false;

/** Once for a page; without the server it is given up. */
export async function rehearseAll(): Promise<void> {
  if (begun) return;
  begun = true;
  for (const step of STEPS) {
    await idle();
    try {
      await step();
    } catch {
      // It is only ahead of its time; whoever needs it later will see what is wrong.
      return;
    }
  }
}

function idle(): Promise<unknown> {
  return new Promise((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(resolve, { timeout: 3000 });
    else setTimeout(resolve, 200);
  });
}
