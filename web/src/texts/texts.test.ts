// Both languages say everything, with the same places for what is put in; and the page asks for nothing that neither says.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import de from "./de.json";
import en from "./en.json";

type Texts = { [name: string]: string | Texts };

const SOURCE = join(import.meta.dirname, "..");

/** Every text by its whole name. */
function flat(texts: Texts, before = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, text] of Object.entries(texts)) {
    if (typeof text === "string") found.set(before + name, text);
    else for (const [inner, value] of flat(text, `${before}${name}.`)) found.set(inner, value);
  }
  return found;
}

const english = flat(en);
const german = flat(de);

function asked(name: string): string {
  const singular = name.replace(/_(one|other)$/, "");
  return english.has(`${singular}_other`) ? singular : name;
}

const places = (text: string) => [...text.matchAll(/\{\{\s*(\w+)/g)].map((match) => match[1]).sort();

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf-8" })
    .filter((name) => /\.tsx?$/.test(name) && !/\.test\.tsx?$/.test(name))
    .map((name) => readFileSync(join(folder, name), "utf-8"));
}

/** Names as the code has them: without the ending of their plural. */
const known = new Set([...english.keys()].map(asked));
/** Whatever stands in the code like the name of a text: also where it is chosen first and said later. */
const spaces = Object.keys(en).join("|");
const code = sources(SOURCE).join("\n");
const used = new Set([...code.matchAll(new RegExp(`["'\`]((?:${spaces})\\.\\w+)["'\`]`, "g"))].map((match) => match[1]!));
/** The beginnings of names whose end is put in. */
const begun = [...code.matchAll(new RegExp(`\`((?:${spaces})\\.[\\w.]*)\\$\\{`, "g"))].map((match) => match[1]!);

describe("the texts", () => {
  test("are the same in both languages", () => {
    expect([...german.keys()].sort()).toEqual([...english.keys()].sort());
  });

  test("have the same places for what is put in", () => {
    for (const [name, text] of english) expect(places(german.get(name)!), name).toEqual(places(text));
  });

  test("are not empty, and not the English ones again but where the words are the same", () => {
    for (const [name, text] of german) expect(text.trim(), name).not.toBe("");
    const same = [...english].filter(([name, text]) => german.get(name) === text && /[a-z]{4,} [a-z]{4,}/.test(text));
    expect(same).toEqual([]);
  });

  test("speak to one person, and kindly", () => {
    for (const [name, text] of german) expect(text, name).not.toMatch(/\b(Sie|Ihre?[nmrs]?) (können|haben|müssen|sollten)\b/);
  });

  test("are there, all that the code asks for", () => {
    expect(used.size).toBeGreaterThan(100);
    expect([...used].filter((name) => !known.has(name))).toEqual([]);
    for (const name of begun) expect([...known].some((each) => each.startsWith(name)), name).toBe(true);
  });

  test("are all asked for", () => {
    const unused = [...known].filter((name) => !used.has(name) && !begun.some((beginning) => name.startsWith(beginning)));
    expect(unused).toEqual([]);
  });
});
