// A file that goes along with a question: the server makes text of it.

import i18next from "i18next";

import type { Attachment } from "../types";
import { send } from "../upload";

export const MOST_BYTES = 16 * 2 ** 20;
/** What the server makes text of; only a hint for the dialog that picks files. */
export const ACCEPTED = ".txt,.md,.markdown,.pdf,.docx,.csv,.json,.html,.py,.tex,text/*,application/pdf";

export type Uploaded = Attachment & { pages: number | null; cut: boolean };

/** onProgress: the part that was sent. Raises as `send` does, and Error with a sentence for a file that is too large. */
export async function upload(file: File, onProgress: (done: number) => void, signal: AbortSignal): Promise<Uploaded> {
  if (file.size > MOST_BYTES) throw new Error(i18next.t("composer.too_large", { name: file.name }));
  return send<Uploaded>(`/app/uploads?name=${encodeURIComponent(file.name)}`, file, onProgress, signal);
}
