// How much of a conversation the model reads and how long it may think: the server's rules (serve/chats/fitting.py,
// serve/chats/branch.py, engine/sequence.py) for a model that runs here. Pure functions.

import type { Effort, Message } from "../types";
import type { Exchange } from "./template";

const FULL = 0.75;
const EASED = 0.5;
/** Less room than this behind the prompt cannot hold an answer. */
export const LEAST_ROOM = 8;
const SHARES: Record<Effort, number | null> = { low: 1 / 4, medium: 1 / 2, high: null };

/** The most ids that a thought may have; null where none is bounded. */
export function budgetOf(effort: Effort | null, context: number): number | null {
  const share = effort === null ? null : SHARES[effort];
  return share === null ? null : Math.trunc(context * share);
}

/**
 * The most ids of thought, so that `closing` ids and an answer still fit in `limit`; null: nothing can be done.
 *
 * thoughtLimit(400, 3, null) is 297, thoughtLimit(400, 3, 50) is 50.
 */
export function thoughtLimit(limit: number, closing: number, budget: number | null): number | null {
  if (limit <= closing) return null;
  const most = Math.max(0, limit - closing - Math.max(1, Math.min(256, Math.floor(limit / 4))));
  return budget === null ? most : Math.min(most, budget);
}

/** A branch as what was answered, and the question that is open at its end. What has no answer joins the next question. */
export function exchanges(branch: readonly Message[]): { history: Exchange[]; question: string } {
  const history: Exchange[] = [];
  let waiting = "";
  for (const { role, content } of branch) {
    if (role === "user") waiting = waiting ? `${waiting}\n\n${content}` : content;
    else if (content.trim() && waiting) {
      history.push({ question: waiting, answer: content });
      waiting = "";
    } else if (content.trim() && history.length > 0) history.at(-1)!.answer += `\n\n${content}`;
  }
  return { history, question: waiting };
}

/** How many of the oldest exchanges to leave out; before: how many an earlier turn left out. count: ids of the prompt. */
export function leftOut(history: readonly Exchange[], before: number, context: number, count: (history: readonly Exchange[]) => number): number {
  const every = history.length;
  const fits = (left: number, share: number) => count(history.slice(left)) <= context * share;
  let low = Math.min(before, every);
  if (low === every || fits(low, FULL)) return low;
  let high = every;
  for (low += 1; low < high; ) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle, EASED)) high = middle;
    else low = middle + 1;
  }
  return high;
}
