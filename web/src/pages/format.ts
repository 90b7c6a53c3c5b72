// Numbers, times and amounts as the reader's language writes them.

import i18next from "i18next";

const made = new Map<string, Intl.NumberFormat>();

function number(value: number, options: Intl.NumberFormatOptions): string {
  const name = i18next.language + JSON.stringify(options);
  let format = made.get(name);
  if (!format) made.set(name, (format = new Intl.NumberFormat(i18next.language, options)));
  return format.format(value);
}

export const whole = (value: number) => number(value, { maximumFractionDigits: 0 });
export const figure = (value: number) => number(value, { maximumSignificantDigits: 3 });
export const short = (value: number) => number(value, { notation: "compact", maximumFractionDigits: 1 });
export const dollars = (value: number) => `$ ${number(value, { maximumSignificantDigits: 3 })}`;

/** Large and tiny numbers with their power of ten: 6.41 × 10¹³. */
export function power(value: number): string {
  const [mantissa, exponent] = value.toExponential(2).split("e") as [string, string];
  const raised = exponent.replace("+", "").replace(/[-\d]/g, (digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]!));
  return `${figure(Number(mantissa))} × 10${raised}`;
}

/** As `figure`, where a value may be of any size: 0.76, 184, 12.5K, 2.4 × 10⁻⁸. */
export function measure(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return power(value);
  return size < 10_000 ? figure(value) : short(value);
}

/** Seconds as people say them: 42 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  return `${Math.floor(all / 3600)} h ${Math.floor((all % 3600) / 60)} min`;
}

/** A moment: its time of today, else its day and time. */
export function moment(milliseconds: number): string {
  const then = new Date(milliseconds);
  const isToday = then.toDateString() === new Date().toDateString();
  const options: Intl.DateTimeFormatOptions = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(i18next.language, options).format(then);
}

export function day(milliseconds: number): string {
  return new Intl.DateTimeFormat(i18next.language, { dateStyle: "medium" }).format(milliseconds);
}
