import { describe, expect, test, vi } from "vitest";

import { type Block, Blocks } from "./blocks";

// Bounds hold on a machine that does other things beside.
vi.setConfig({ testTimeout: 60_000 });

function whole(text: string): Block[] {
  return new Blocks().read(text, true).flat();
}

/** Read letter by letter, as it streams. */
function streamed(text: string): Block[] {
  const blocks = new Blocks();
  for (let end = 1; end <= text.length; end += 1) blocks.read(text.slice(0, end), false);
  return blocks.read(text, true).flat();
}

function shape(blocks: readonly Block[]): string[] {
  return blocks.map((block) => `${block.kind}: ${block.text.trim()}`);
}

const SAMPLE = `# Title
Text that goes
on here.
---
1. one

   more of one
2. two
   \`\`\`js
   let x;

   let y;
   \`\`\`
- other list

| a | b |
|---|---|
| 1 | 2 |
After the table
> said
> again

\`\`\`python
# not a heading

$$ not a formula
\`\`\`
$$
x^2

+ y
$$
\\[ z \\].
\\begin{align*}
a &= b
\\end{align*}
The $$v$$ in a line.
`;

describe("where blocks end", () => {
  test("each kind", () => {
    expect(shape(whole(SAMPLE))).toEqual([
      "prose: # Title",
      "prose: Text that goes\non here.",
      "prose: ---",
      "prose: 1. one\n\n   more of one\n2. two\n   ```js\n   let x;\n\n   let y;\n   ```",
      "prose: - other list",
      "prose: | a | b |\n|---|---|\n| 1 | 2 |\nAfter the table",
      "prose: > said\n> again",
      "code: # not a heading\n\n$$ not a formula",
      "math: x^2\n\n+ y",
      "math: z.",
      "math: \\begin{align*}\na &= b\n\\end{align*}",
      "prose: The $$v$$ in a line.",
    ]);
  });

  test("letter by letter they are the same", () => {
    expect(streamed(SAMPLE)).toEqual(whole(SAMPLE));
  });

  test("nothing is lost, whatever is cut", () => {
    const text = `${"A sentence of words. ".repeat(900)}\n\n${"- item\n".repeat(900)}\n${"line\n".repeat(2000)}`;
    for (const blocks of [whole(text), streamed(text.slice(0, 7000))]) {
      expect(blocks.length).toBeGreaterThan(2);
      expect(blocks.every((block) => block.text.length < 3500)).toBe(true);
    }
    expect(whole(text).map((block) => block.text).join("").replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
  });

  test("a long table goes on with its head", () => {
    const table = `| n | square |\n|---|---|\n${Array.from({ length: 400 }, (_, n) => `| ${n} | ${n * n} |\n`).join("")}`;
    const blocks = whole(table);
    expect(blocks.length).toBeGreaterThan(1);
    for (const block of blocks) expect(block.text.startsWith("| n | square |\n|---|---|\n| ")).toBe(true);
    const rows = blocks.flatMap((block) => block.text.trim().split("\n").slice(2));
    expect(rows.length).toBe(400);
  });

  test("a fence needs an end of its own length, and one without an end reaches to the end", () => {
    expect(whole("````\n```\n````\nx").map((block) => block.text.trim())).toEqual(["```", "x"]);
    expect(whole("```c\nint x;\n\nmore")).toEqual([{ kind: "code", language: "c", text: "int x;\n\nmore", open: false }]);
  });

  test("two dollars that never end swallow no more than a formula may have", () => {
    const blocks = whole(`$$\n${"word word\n".repeat(600)}\nThe end.\n`);
    expect(blocks.at(-1)).toEqual({ kind: "prose", text: "The end.\n", open: false });
  });
});

describe("while it streams", () => {
  test("settled blocks stay the same objects, full groups the same arrays", () => {
    const blocks = new Blocks();
    const first = blocks.read("One.\n\nTwo is being", false);
    const second = blocks.read("One.\n\nTwo is being written.", false);
    expect(second[0]![0]).toBe(first[0]![0]);
    const long = "A paragraph.\n\n".repeat(400);
    const before = blocks.read(long, false);
    const after = blocks.read(`${long}More.`, false);
    expect(before.length).toBeGreaterThan(2);
    expect(after[0]).toBe(before[0]);
  });

  test("a line that may become anything is held back", () => {
    for (const start of ["`", "``", "#", "-", "$", "\\", "1", "1.", "|", "**"]) {
      expect(new Blocks().read(`Text.\n\n${start}`, false).flat()).toHaveLength(1);
      expect(new Blocks().read(`Text.\n\n${start}`, true).flat()).toHaveLength(2);
    }
  });

  test("an unfinished fence or formula is one already", () => {
    expect(new Blocks().read("```py\nx = 1", false).flat()).toEqual([{ kind: "code", language: "py", text: "x = 1", open: true }]);
    expect(new Blocks().read("```py\nx = 1\n``", false).flat()).toEqual([{ kind: "code", language: "py", text: "x = 1", open: true }]);
    expect(new Blocks().read("\\[\nx^2", false).flat()).toEqual([{ kind: "math", text: "x^2", open: true }]);
  });

  test("another text starts over", () => {
    const blocks = new Blocks();
    blocks.read("The first text.\n\nMore", false);
    expect(shape(blocks.read("Another.", true).flat())).toEqual(["prose: Another."]);
  });

  test("a long thought takes a blink, not a square of its length", () => {
    const blocks = new Blocks();
    const text = "A step of the thought, with $x$.\n\n".repeat(2500);
    const began = performance.now();
    for (let end = 400; end < text.length; end += 400) blocks.read(text.slice(0, end), false);
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});
