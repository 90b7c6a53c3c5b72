import { describe, expect, test } from "vitest";

import type { Message } from "../types";
import { asCopied } from "./copied";
import { Incoming } from "./incoming";
import { parts } from "./steps";
import { among, branch } from "./tree";

function message(id: string, parent: string | null, created: number): Message {
  return { id, parent, created, role: "assistant", thought: "", content: "", state: "running" } as Message;
}

/** q1 with the replies a1 and a2; under a1 the questions q2 and q3; q4 stands beside q1. */
const TREE = new Map(
  [
    message("q1", null, 1),
    message("a1", "q1", 2),
    message("a2", "q1", 5),
    message("q2", "a1", 3),
    message("q3", "a1", 4),
    message("q4", null, 6),
  ].map((one) => [one.id, one]),
);

function ids(head: string | null): string[] {
  return branch(TREE, head).map((one) => one.id);
}

describe("branches", () => {
  test("from the root through a message, and on to the newest", () => {
    expect(ids("a1")).toEqual(["q1", "a1", "q3"]);
    expect(ids("q2")).toEqual(["q1", "a1", "q2"]);
    expect(ids("q1")).toEqual(["q1", "a2"]);
    expect(ids(null)).toEqual(["q4"]);
    expect(ids("gone")).toEqual(["q4"]);
  });

  test("back on a branch, it goes on as it was seen", () => {
    const seen = new Map([["q1", "a1"], ["a1", "q2"]]);
    expect(branch(TREE, "q1", seen).map((one) => one.id)).toEqual(["q1", "a1", "q2"]);
  });

  test("a message among its siblings", () => {
    expect(among(TREE, TREE.get("q3")!)).toEqual({ at: 1, all: ["q2", "q3"] });
    expect(among(TREE, TREE.get("q1")!)).toEqual({ at: 0, all: ["q1", "q4"] });
  });

  test("a tree that bites its tail ends", () => {
    const tail = new Map([message("x", "y", 1), message("y", "x", 2)].map((one) => [one.id, one]));
    expect(branch(tail, "x")).toHaveLength(2);
  });
});

describe("a reply that comes in", () => {
  const source = { number: 1, title: "t", url: "u", excerpt: "e", published: "" };

  test("its events become the message", () => {
    const incoming = new Incoming("stream");
    incoming.take({ type: "think", text: "Hm 🦉" });
    incoming.take({ type: "search", query: "owls" });
    expect(incoming.applied(message("a", "q", 1)).steps[0]!.seconds).toBeLessThan(0);
    incoming.take({ type: "found", query: "owls", sources: [source], problem: "", seconds: 0.5 });
    incoming.take({ type: "answer", text: "So." });
    const made = incoming.applied(message("a", "q", 1));
    expect(made).toMatchObject({ thought: "Hm 🦉", content: "So.", state: "running", sources: [source] });
    expect(made.steps).toEqual([{ query: "owls", at: 4, seconds: 0.5, problem: "", sources: [1] }]);
  });

  test("what was read before stays until this is as far", () => {
    const incoming = new Incoming("stream");
    const read = { ...message("a", "q", 1), thought: "I think of" };
    incoming.take({ type: "think", text: "I think" });
    expect(incoming.applied(read)).toBe(read);
    incoming.take({ type: "think", text: " of owls" });
    expect(incoming.applied(read).thought).toBe("I think of owls");
  });

  test("an error ends it", () => {
    const incoming = new Incoming("stream");
    incoming.take({ type: "error", message: "Broken.", code: "server_error" });
    expect(incoming.applied(message("a", "q", 1))).toMatchObject({ state: "failed", error: { message: "Broken." } });
    incoming.take({ type: "error", message: "Stopped.", code: "stream_stopped" });
    expect(incoming.applied(message("a", "q", 1)).state).toBe("stopped");
  });

  test("searches stand where the thought was, counted as the server counts", () => {
    const step = { query: "x", at: 3, seconds: 1, problem: "", sources: [] };
    expect(parts("🦉🦉abc", [step])).toEqual([
      { kind: "text", text: "🦉🦉a" },
      { kind: "step", step },
      { kind: "text", text: "bc" },
    ]);
    expect(parts("", [{ ...step, at: 0 }])).toHaveLength(1);
  });
});

test("what is copied has the sources that it cites, and no citation that leads nowhere", () => {
  const sources = [{ number: 2, title: "A page", url: "https://a.example/", excerpt: "", published: "" }];
  expect(asCopied({ content: "So it is [citation:2] [citation:9].", sources })).toBe("So it is [2].\n\n[2] A page https://a.example/");
});
