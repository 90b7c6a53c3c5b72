import type { TFunction } from "i18next";

/** "12 s", "1 min 5 s", as the language writes it. */
export function duration(seconds: number, t: TFunction): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("thought.seconds", { seconds: whole });
  return t("thought.minutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
}
