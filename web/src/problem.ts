// What went wrong, as a sentence in the reader's language where it is ours, and in the server's words where it is theirs.

import i18next from "i18next";

import { Refusal, Unreachable } from "./api";

export function problemOf(error: unknown): string {
  if (error instanceof Unreachable) return i18next.t("app.unreachable");
  if (error instanceof Refusal) return error.status === 401 ? i18next.t("app.keyMissing") : error.message;
  return error instanceof Error ? error.message : String(error);
}
