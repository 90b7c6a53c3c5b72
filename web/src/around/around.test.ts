import { describe, expect, test } from "vitest";

import type { ConversationLine } from "../types";
import { fileName, merged } from "./conversations";
import { grouped } from "./days";
import { keyIn } from "./keys";
import { parts } from "./Marked";

function line(id: string, updated: number, pinned = false): ConversationLine {
  return { id, title: id, pinned, created: updated, updated, running: false };
}

describe("grouped", () => {
  const now = new Date(2026, 10, 25, 14, 0);
  const at = (...when: [number, number, number, number?]) => new Date(...when).getTime();

  test("puts conversations under the day that one remembers", () => {
    const lines = [
      line("pinned", at(2020, 0, 1), true),
      line("now", at(2026, 10, 25, 13)),
      line("just after midnight", at(2026, 10, 25, 0)),
      line("just before midnight", at(2026, 10, 24, 23)),
      line("last week", at(2026, 10, 18, 1)),
      line("a month ago", at(2026, 9, 26, 12)),
      line("September", at(2026, 8, 30)),
      line("also September", at(2026, 8, 1)),
      line("September a year ago", at(2025, 8, 1)),
    ];
    const found = grouped(lines, now).map(({ day, month, lines }) => [day, month?.getFullYear() ?? null, lines.length]);
    expect(found).toEqual([
      ["pinned", null, 1],
      ["today", null, 2],
      ["yesterday", null, 1],
      ["week", null, 1],
      ["month", null, 1],
      ["older", 2026, 2],
      ["older", 2025, 1],
    ]);
  });

  test("takes a clock that is ahead for today", () => {
    expect(grouped([line("a", now.getTime() + 3_600_000 * 30)], now)[0]!.day).toBe("today");
  });
});

describe("merged", () => {
  test("a whole list is what there is", () => {
    const page = { conversations: [line("b", 2)], next: null };
    expect(merged(page, { lines: [line("a", 9), line("b", 2)], next: "x" })).toEqual({ lines: page.conversations, next: null });
  });

  test("what was read beyond the first page stays, once, and is gone on with from where it was", () => {
    const page = { conversations: [line("p", 1, true), line("new", 9), line("moved up", 8)], next: "after 8" };
    const before = { lines: [line("p", 1, true), line("deleted", 8.5), line("moved up", 3), line("old", 2)], next: "after 2" };
    const { lines, next } = merged(page, before);
    expect(lines.map(({ id }) => id)).toEqual(["p", "new", "moved up", "old"]);
    expect(next).toBe("after 2");
  });

  test("one that was unpinned elsewhere is not kept among the pinned", () => {
    const page = { conversations: [line("p", 5, true), line("q", 4, true)], next: "more" };
    const { lines } = merged(page, { lines: [line("p", 5, true), line("gone", 4.5, true), line("old", 2)], next: "x" });
    expect(lines.map(({ id }) => id)).toEqual(["p", "q", "old"]);
  });
});

describe("parts", () => {
  test.each([
    ["no hit", [["no hit", false]]],
    ["a \uE000b\uE001 c", [["a ", false], ["b", true], [" c", false]]],
    ["\uE000x\uE001\uE000y\uE001", [["x", true], ["y", true]]],
    ["cut \uE000off", [["cut ", false], ["off", true]]],
    ["\uE001 stray", [[" stray", false]]],
    ["", []],
  ])("of %j", (text, found) => expect(parts(text)).toEqual(found));
});

test("a key is taken out of the part of the address that no server sees", () => {
  expect(keyIn("#key=sk-denken-1_-x")).toBe("sk-denken-1_-x");
  for (const none of ["", "#", "#key=", "#top", "#key=a b", "#key=ä", "#akey=x", `#key=${"x".repeat(201)}`]) {
    expect(keyIn(none), none).toBeNull();
  }
});

test("a file is called what the server calls it", () => {
  expect(fileName("attachment; filename*=UTF-8''W%C3%B6rter%20und%20%E2%82%AC.md")).toBe("Wörter und €.md");
  for (const none of ["", "attachment", "attachment; filename*=UTF-8''%E2%82.md"]) expect(fileName(none)).toBeNull();
});
