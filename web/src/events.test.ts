import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { EventReader, follow } from "./events";
import type { TurnEvent } from "./types";

vi.setConfig({ testTimeout: 60_000 });

function event(number: number, record: unknown): string {
  return `id: name-${number}\ndata: ${typeof record === "string" ? record : JSON.stringify(record)}\n\n`;
}

const STREAM = [
  event(1, { type: "think", text: "Grüße 🦉" }),
  event(2, { type: "answer", text: "a" }),
  ": keep-alive\n\n",
  event(3, { type: "answer", text: "b" }),
  event(4, "[DONE]"),
];

describe("reading events", () => {
  test("wherever the pieces begin and end", () => {
    const text = STREAM.join("");
    const whole = [...new EventReader().read(text)];
    expect(whole.map((arrived) => arrived.number)).toEqual([1, 2, 3, 4]);
    const reader = new EventReader();
    expect([...text].flatMap((letter) => [...reader.read(letter)])).toEqual(whole);
  });

  test("line ends of either kind, and events without a number", () => {
    expect([...new EventReader().read("data: x\r\n\r\ndata:y\n\n")]).toEqual([
      { number: null, data: "x" },
      { number: null, data: "y" },
    ]);
  });
});

describe("following a stream", () => {
  let answers: (() => Response)[];
  let asked: string[];

  beforeEach(() => {
    answers = [];
    asked = [];
    vi.useFakeTimers();
    vi.stubGlobal("document", new EventTarget());
    vi.stubGlobal("addEventListener", () => undefined);
    const empty = { getItem: () => null };
    vi.stubGlobal("sessionStorage", empty);
    vi.stubGlobal("localStorage", empty);
    vi.stubGlobal("fetch", async (path: string) => {
      asked.push(path);
      return (answers.shift() ?? (() => Response.error()))();
    });
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  /** A response that sends these bytes and then ends, or breaks. */
  function sends(bytes: Uint8Array, how: "ends" | "breaks"): Response {
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (bytes.length > 0) controller.enqueue(bytes);
        bytes = new Uint8Array();
        if (how === "ends") controller.close();
        else controller.error(new TypeError("network error"));
      },
    });
    return new Response(body);
  }

  async function hear(first: Response | null): Promise<{ end: string; said: string; lost: boolean[] }> {
    let said = "";
    const lost: boolean[] = [];
    const on = (heard: TurnEvent) => {
      if (heard.type === "think" || heard.type === "answer") said += heard.text;
    };
    const ended = follow("name", first, { signal: new AbortController().signal, on, onLost: (is) => lost.push(is) });
    await vi.runAllTimersAsync();
    return { end: await ended, said, lost };
  }

  test("cut anywhere, not a letter is lost or doubled", async () => {
    const bytes = new TextEncoder().encode(STREAM.join(""));
    for (let cut = 0; cut < bytes.length; cut += 7) {
      asked = [];
      answers = [
        () => {
          const after = Number(/after=(\d+)/.exec(asked.at(-1)!)![1]);
          return new Response(STREAM.filter((one) => Number(/id: name-(\d+)/.exec(one)?.[1] ?? 9) > after).join(""));
        },
      ];
      const { end, said } = await hear(sends(bytes.slice(0, cut), cut % 2 ? "ends" : "breaks"));
      expect([end, said]).toEqual(["done", "Grüße 🦉ab"]);
      expect(asked.length).toBe(1);
    }
  });

  test("it asks again until the server is there", async () => {
    answers = [() => Response.error(), () => new Response("", { status: 503 }), () => new Response(STREAM.join(""))].map((make) => () => {
      const made = make();
      if (made.type === "error") throw new TypeError("Failed to fetch");
      return made;
    });
    const { end, said, lost } = await hear(null);
    expect([end, said]).toEqual(["done", "Grüße 🦉ab"]);
    expect([lost[0], lost.at(-1)]).toEqual([true, false]);
  });

  test("a stream that the server has no longer is gone", async () => {
    answers = [() => new Response('{"error":{"message":"No.","code":"no_stream"}}', { status: 404 })];
    expect((await hear(null)).end).toBe("gone");
  });

  test("what a server says that ends is no end of the reply", async () => {
    const ending = `data: {"error":{"message":"The server ends.","code":null}}\n\ndata: [DONE]\n\n`;
    answers = [() => new Response(STREAM.slice(1).join(""))];
    const { end, said } = await hear(new Response(STREAM[0] + ending));
    expect([end, said, asked]).toEqual(["done", "Grüße 🦉ab", ["/v1/streams/name?after=1"]]);
  });
});
