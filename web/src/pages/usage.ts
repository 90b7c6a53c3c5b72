// What GET /v1/usage reports, and every day of a period in it, those too of which there is no line.

export interface UsageRow {
  day?: string;
  model?: string;
  key?: string;
  requests: number;
  prompt_tokens: number;
  cached_tokens: number;
  thought_tokens: number;
  answer_tokens: number;
  seconds: number;
  cost_usd: string;
  r1_usd: string;
  o1_usd: string;
}

export type By = "day" | "model" | "key";

export interface UsageReport {
  days: number;
  by: By;
  totals: UsageRow;
  data: UsageRow[];
}

export type DayRow = UsageRow & { day: string };

const NOTHING: UsageRow = {
  requests: 0,
  prompt_tokens: 0,
  cached_tokens: 0,
  thought_tokens: 0,
  answer_tokens: 0,
  seconds: 0,
  cost_usd: "0",
  r1_usd: "0",
  o1_usd: "0",
};

/** From the first day to today, in UTC as the report has it. */
export function everyDay(report: UsageReport, now: Date): DayRow[] {
  const byDay = new Map(report.data.map((row) => [row.day, row]));
  return Array.from({ length: report.days }, (_, index) => {
    const day = new Date(now.getTime() - (report.days - 1 - index) * 86_400_000).toISOString().slice(0, 10);
    return { ...(byDay.get(day) ?? NOTHING), day };
  });
}

/** Round values from 0 up to at least `most`, at most six of them. */
export function scale(most: number): number[] {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, most)));
  const step = [0.25, 0.5, 1, 2.5].map((part) => part * power).find((part) => most / part <= 5) ?? power;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

/** Powers of ten around all amounts that are more than nothing. */
export function decades(amounts: readonly number[]): number[] {
  const some = amounts.filter((amount) => amount > 0);
  const first = some.length ? Math.floor(Math.log10(Math.min(...some))) : -3;
  const last = some.length ? Math.max(first + 1, Math.ceil(Math.log10(Math.max(...some)))) : 0;
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}
