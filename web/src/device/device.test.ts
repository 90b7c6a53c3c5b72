// The device answers as the server does: the cases are Python's (tests/web/test_device_cases.py).

import { describe, expect, test } from "vitest";

import type { Message } from "../types";
import given from "./cases.json";
import type { Sampled } from "./engine";
import { budgetOf, exchanges, leftOut, thoughtLimit } from "./fitting";
import { type Counted, type Runs, generate, hasRoom } from "./generate";
import { Sorter } from "./sorter";
import { type Vocabulary, endOfThinking, plain, render } from "./template";
import { titleOf } from "./title";

const texts: Record<string, number[]> = given.texts;
const vocabulary: Vocabulary = { controls: given.controls, encode: (text) => texts[text] ?? [...text].map(() => 700) };
const THINK = given.controls["<think>"];
const END_THINK = given.controls["</think>"];
const EOS = given.controls["<｜end▁of▁sentence｜>"];

describe("a prompt", () => {
  test("has the ids that Python renders", () => {
    for (const { history, question, thinking, ids } of given.renders) {
      const answered = history.map((pair) => ({ question: pair[0]!, answer: pair[1]! }));
      expect(render(answered, question, vocabulary, thinking), question).toEqual(ids);
    }
  });

  test("has a thought closed as Python closes it", () => {
    expect(endOfThinking(vocabulary)).toEqual(given.closing);
  });

  test("has no control id of what was typed, even where a vocabulary finds them in any text", () => {
    const eager: Vocabulary = {
      controls: given.controls,
      encode: (text) => text.split(/(<think>)/).flatMap((part) => (part === "<think>" ? [THINK] : [...part].map((letter) => 1000 + letter.charCodeAt(0)))),
    };
    const ids = plain("a<think>b", eager);
    expect(ids).toEqual([..."a<think>b"].map((letter) => 1000 + letter.charCodeAt(0)));
  });
});

describe("what is said", () => {
  const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));

  test.each(["at once", "id by id"])("is sorted as Python sorts it, %s", (how) => {
    for (const { ids, thinking, think, answer } of given.parses) {
      const sorter = new Sorter(given.controls, thinking);
      const said = { think: "", answer: "" };
      const take = () => sorter.take().forEach(({ kind, text }) => (said[kind] += text));
      for (const [id, hex] of ids) {
        sorter.push(id as number, bytes(hex as string));
        if (how === "id by id") take();
      }
      sorter.finish();
      take();
      expect(said).toEqual({ think, answer });
    }
  });
});

describe("room", () => {
  test("for a thought is what the engine leaves it", () => {
    for (const [limit, closing, budget, most] of given.limits) expect(thoughtLimit(limit!, closing!, budget!)).toBe(most);
    expect([budgetOf("low", 2048), budgetOf("medium", 2048), budgetOf("high", 2048), budgetOf(null, 2048)]).toEqual([512, 1024, null, null]);
  });

  test("for a conversation is made as on the server", () => {
    for (const { lengths, before, leftOut: expected } of given.fits) {
      const history = lengths.map((length) => ({ question: "q".repeat(length), answer: "" }));
      const count = (some: readonly (typeof history)[number][]) => 10 + some.reduce((sum, { question }) => sum + question.length, 0);
      expect(leftOut(history, before, 100, count), JSON.stringify([lengths, before])).toBe(expected);
    }
    expect([hasRoom(new Array(92), 100), hasRoom(new Array(93), 100)]).toEqual([true, false]);
  });

  test("a question without an answer joins the next", () => {
    const one = (role: "user" | "assistant", content: string) => ({ role, content }) as Message;
    const branch = [one("user", "2+2?"), one("assistant", ""), one("user", "And 3?"), one("assistant", "5"), one("user", "So?")];
    expect(exchanges(branch)).toEqual({ history: [{ question: "2+2?\n\nAnd 3?", answer: "5" }], question: "So?" });
  });
});

/** An engine that says these ids, one letter each, whatever it is fed. */
class Playing implements Runs {
  readonly ends = new Set([EOS]);
  readonly fed: number[] = [];
  constructor(
    readonly context: number,
    private readonly script: number[],
  ) {}
  keep = () => 0;
  feed = (ids: number[]) => void this.fed.push(...ids);
  accept = () => undefined;
  bytes = (ids: number[]) => new TextEncoder().encode(ids.map((id) => (given.closing.includes(id) && id !== END_THINK ? "\n" : "x")).join(""));
  sample = (): Sampled => ({ id: this.script.shift() ?? 700, bytes: new TextEncoder().encode("x") });
  sampleOn = (): Sampled => ({ id: 701, bytes: new TextEncoder().encode("y") });
}

function played(engine: Playing, prompt: number[], budget: number | null) {
  const counted: Counted = { prompt_tokens: 0, cached_tokens: 0, thought_tokens: 0, answer_tokens: 0 };
  const said = { think: "", answer: "" };
  const reply = generate(engine, vocabulary, { prompt, thinking: true, budget }, counted);
  for (;;) {
    const { done, value } = reply.next();
    if (done) return { how: value, ...said, counted };
    for (const { kind, text } of value) said[kind] += text;
  }
}

describe("a reply", () => {
  test("thinks, answers, ends", () => {
    const engine = new Playing(100, [700, 700, END_THINK, 700, EOS]);
    const { how, think, answer, counted } = played(engine, [1, 2, 3], null);
    expect([how, think, answer]).toEqual(["done", "xx", "x"]);
    expect(counted).toEqual({ prompt_tokens: 3, cached_tokens: 0, thought_tokens: 3, answer_tokens: 2 });
    expect(engine.fed).toEqual([1, 2, 3, 700, 700, END_THINK, 700]);
  });

  test("has its thought closed where its budget ends, and then answers", () => {
    const engine = new Playing(100, [700, 700, 700, EOS, EOS]);
    const { how, think, answer } = played(engine, [1], 2);
    expect(engine.fed).toEqual([1, 700, 700, ...given.closing, 700]);
    expect([how, think, answer]).toEqual(["done", "xx", "x"]);
  });

  test("owes an answer: what would end it behind a closed thought is passed over", () => {
    const engine = new Playing(100, [700, EOS, EOS, EOS]);
    const { how, think, answer } = played(engine, [1], null);
    expect([how, think, answer]).toEqual(["done", "x", "y"]);
  });

  test("is cut where the context is full", () => {
    const { how, counted } = played(new Playing(40, []), [1], null);
    expect(how).toBe("cut");
    expect(counted.thought_tokens + counted.answer_tokens).toBe(39);
  });
});

test("a conversation is called by its first question, cut at a word", () => {
  expect(titleOf(" Was ist\n17 mal 23? ")).toBe("Was ist 17 mal 23?");
  const long = titleOf("Sortiere diese Zahlen: ".repeat(5));
  expect(long.length).toBeLessThanOrEqual(60);
  expect(long).toMatch(/Zahlen:…$|diese…$|Sortiere…$/);
});
