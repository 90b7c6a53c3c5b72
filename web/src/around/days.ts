// Conversations by day, as one remembers them: pinned, today, yesterday, the last 7 days, the last 30, then months.

import type { ConversationLine } from "../types";

export type Day = "pinned" | "today" | "yesterday" | "week" | "month" | "older";

export interface Group {
  day: Day;
  /** Of "older": the first moment of the month, in the reader's time. */
  month: Date | null;
  lines: ConversationLine[];
}

/** Groups in the order of the lines, which the server sends pinned first and then newest first. */
export function grouped(lines: readonly ConversationLine[], now: Date): Group[] {
  const groups: Group[] = [];
  for (const line of lines) {
    const { day, month } = dayOf(line, now);
    const last = groups.at(-1);
    if (last && last.day === day && last.month?.getTime() === month?.getTime()) last.lines.push(line);
    else groups.push({ day, month, lines: [line] });
  }
  return groups;
}

function dayOf(line: ConversationLine, now: Date): { day: Day; month: Date | null } {
  if (line.pinned) return { day: "pinned", month: null };
  const updated = new Date(line.updated);
  const days = daysBetween(updated, now);
  if (days <= 0) return { day: "today", month: null };
  if (days === 1) return { day: "yesterday", month: null };
  if (days <= 7) return { day: "week", month: null };
  if (days <= 30) return { day: "month", month: null };
  return { day: "older", month: new Date(updated.getFullYear(), updated.getMonth(), 1) };
}

/** Midnights between the two in the reader's time; days of 23 and 25 hours count as one. */
function daysBetween(before: Date, after: Date): number {
  const midnight = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(after) - midnight(before)) / 86_400_000);
}
