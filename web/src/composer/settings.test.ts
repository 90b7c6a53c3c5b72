import { describe, expect, test } from "vitest";

import type { Offer } from "../device/file";
import type { Model, State } from "../types";
import { type Settings, answering, asTurn } from "./settings";

const ABOUT = { searches: "inside", thinks: "always", chats_freely: false, summary: {}, examples: {} } as const;
const SERVED: Model = { id: "served", context: 100, about: { ...ABOUT, thinks: "optional" } };
const STATE = { models: [SERVED], search: ["web"] } as unknown as State;
const KEPT = { id: "bundled", context: 100, about: ABOUT } as unknown as Offer;
const CHOSEN: Settings = { model: null, here: false, thinking: false, effort: "low", searching: true, places: ["web"] };
const NEW = { id: null, staysHere: false };

describe("who answers", () => {
  test("a conversation that has begun stays where it began, whatever is chosen and reached", () => {
    for (const reached of [true, false]) {
      expect(answering({ id: "here-1", staysHere: false }, CHOSEN, KEPT, STATE, reached)).toEqual({ here: true, model: KEPT, state: STATE });
      expect(answering({ id: "abc", staysHere: true }, { ...CHOSEN, here: true }, KEPT, STATE, reached).here).toBe(false);
    }
  });

  test("a new one: this device if it was chosen, or without a server, and then for good", () => {
    expect(answering(NEW, CHOSEN, KEPT, STATE, true)).toEqual({ here: false, model: SERVED, state: STATE });
    expect(answering(NEW, { ...CHOSEN, here: true }, KEPT, STATE, true).here).toBe(true);
    expect(answering(NEW, CHOSEN, KEPT, null, false).here).toBe(true);
    expect(answering({ id: null, staysHere: true }, CHOSEN, KEPT, STATE, true).here).toBe(true);
  });

  test("nobody but the server where nothing was fetched; and of a conversation here nobody, not the server", () => {
    expect(answering(NEW, { ...CHOSEN, here: true }, null, STATE, false)).toEqual({ here: false, model: SERVED, state: STATE });
    expect(answering({ id: "here-1", staysHere: false }, CHOSEN, null, STATE, true)).toEqual({ here: true, model: null, state: STATE });
  });

  test("this device never searches, and thinks where its model always does", () => {
    const here = answering(NEW, CHOSEN, KEPT, STATE, false);
    expect(asTurn(CHOSEN, here)).toEqual({ model: "bundled", thinking: true, effort: "low", search: [] });
    const there = answering(NEW, CHOSEN, KEPT, STATE, true);
    expect(asTurn(CHOSEN, there)).toEqual({ model: "served", thinking: false, effort: null, search: ["web"] });
  });
});
