import { describe, expect, test, vi } from "vitest";

import { CITE_BEGIN, CITE_END, DISPLAY, isClosed, prepare } from "./inline";

// Bounds hold on a machine that does other things beside.
vi.setConfig({ testTimeout: 60_000 });

function cite(...numbers: number[]): string {
  return numbers.map((number) => CITE_BEGIN + number + CITE_END).join("");
}

describe("formulas", () => {
  test.each([
    ["a $x^2$ b", "a $$x^2$$ b"],
    ["a \\(x_1 * y_2\\) b", "a $$x_1 * y_2$$ b"],
    ["a \\[x\\] b", `a $$${DISPLAY}x$$ b`],
    ["a $$x$$ b", `a $$${DISPLAY}x$$ b`],
    ["- a\n  \\[\n  x\n  \\]", `- a\n  $$${DISPLAY}x$$`],
    ["| $|x|$ | b |", "| $$\\vert x\\vert $$ | b |"],
  ])("%s", (text, expected) => expect(prepare(text, false)).toBe(expected));

  test.each(["$5 and $10", "US$10-$20", "costs $5, or US$10", "a $ b $ c", "`$x$`", "``a`$x$``", "\\$x$"])("not in %s", (text) => {
    expect(prepare(text, false).replaceAll("\\$", "$")).toBe(text.replaceAll("\\$", "$"));
  });
});

describe("citations", () => {
  test("become marks that no model can forge", () => {
    expect(prepare("So it is [citation:3].", false)).toBe(`So it is${cite(3)}.`);
    expect(prepare("[citation:1][citation:2]", false)).toBe(cite(1, 2));
    expect(prepare("[citation:1, 2]", false)).toBe(cite(1, 2));
    expect(prepare(`x${CITE_BEGIN}1${CITE_END}`, false)).not.toContain(CITE_BEGIN);
  });

  test("not in code", () => {
    expect(prepare("`[citation:3]`", false)).toBe("`[citation:3]`");
  });

  test("half of one is held back while it streams, and is text at the end", () => {
    for (let end = 10; end < "It is so [citation:12]".length; end += 1) {
      expect(prepare("It is so [citation:12]".slice(0, end), true)).toBe("It is so");
    }
    expect(prepare("a [citation:1", false)).toBe("a [citation:1");
    expect(prepare("an array [1, 2", true)).toBe("an array [1, 2");
  });
});

describe("what is half there", () => {
  test.each([
    ["a **bold", "a **bold**"],
    ["a **bold*", "a **bold**"],
    ["a **", "a"],
    ["a *b **c", "a *b **c***"],
    ["snake_case and _it", "snake_case and _it_"],
    ["a `code", "a `code`"],
    ["a `code *x*", "a `code *x*`"],
    ["- **one\n- two", "- **one\n- two"],
    ["2 * 3 * 4", "2 * 3 * 4"],
    ["see [the page](https://exam", "see the page"],
    ["an ![image](htt", "an image"],
    ["a \\(x^2 + ", "a"],
    ["a $x^2 + ", "a"],
    ["a $5 and", "a \\$5 and"],
    ["| a | b |", ""],
    ["| a | b |\n|--", ""],
    ["| a | b |\n|---|---|\n| 1", "| a | b |\n|---|---|\n| 1"],
  ])("%s", (text, expected) => expect(prepare(text, true)).toBe(expected));

  test("a formula that never comes to its end is text", () => {
    expect(prepare(`a \\(x ${"word ".repeat(100)}`, true)).toContain("\\(x word");
  });
});

test.each([
  ["17*23 = 17*20 + 17*3", "17\\*23 = 17\\*20 + 17\\*3"],
  ["2**10 and (a)*(b)", "2\\*\\*10 and (a)\\*(b)"],
  ["the **3**rd and *a*b", "the **3**rd and *a*b"],
  ["340\n+ 51\n391.", "340\n\\+ 51\n391\\."],
  ["1. one\n2. two", "1. one\n2. two"],
])("sums stay sums: %s", (text, expected) => expect(prepare(text, false)).toBe(expected));

test("a text is cut only where nothing is open", () => {
  expect(isClosed("All of it. ")).toBe(true);
  for (const text of ["a **b", "a `b", "a $x +", "a \\(x"]) expect(isClosed(text)).toBe(false);
});

test("hostile text ends soon", () => {
  for (const piece of ["**", "$", "`", "[", "\\(", "[citation:", "_a", "$a ", "``` "]) {
    const began = performance.now();
    prepare(piece.repeat(3000), true);
    prepare(piece.repeat(3000), false);
    expect(performance.now() - began).toBeLessThan(10_000);
  }
});
