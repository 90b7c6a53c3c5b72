import type { TFunction } from "i18next";

/** "12 s", "1 min 5 s". */
export function duration(seconds: number, t: TFunction): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("thought.seconds", { seconds: whole });
  return t("thought.minutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
}

/** What took less than ten seconds, with its tenths. */
export function exactly(seconds: number, language: string, t: TFunction): string {
  if (seconds >= 9.95) return duration(seconds, t);
  const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  return t("thought.seconds", { seconds: tenths.format(seconds) });
}
