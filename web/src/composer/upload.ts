// Sends a file to the server, which makes text of it. XMLHttpRequest, for `fetch` does not say how far it is.

import i18next from "i18next";

import { key } from "../api";
import type { Attachment } from "../types";

export const MOST_BYTES = 16 * 2 ** 20;
/** What the server makes text of; only a hint for the dialog that picks files. */
export const ACCEPTED = ".txt,.md,.markdown,.pdf,.docx,.csv,.json,.html,.py,.tex,text/*,application/pdf";

export type Uploaded = Attachment & { pages: number | null; cut: boolean };

/** Raises Error with a sentence for the person. onProgress: the part that was sent. */
export function upload(file: File, onProgress: (done: number) => void, signal: AbortSignal): Promise<Uploaded> {
  if (file.size > MOST_BYTES) return Promise.reject(new Error(i18next.t("composer.too_large", { name: file.name })));
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", `/app/uploads?name=${encodeURIComponent(file.name)}`);
    sending.responseType = "json";
    const secret = key();
    if (secret) sending.setRequestHeader("Authorization", `Bearer ${secret}`);
    sending.setRequestHeader("Content-Type", "application/octet-stream");
    sending.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    sending.onload = () => (sending.status < 300 ? resolve(sending.response as Uploaded) : reject(new Error(said(sending))));
    sending.onerror = () => reject(new Error(i18next.t("thread.unreachable")));
    sending.onabort = () => reject(new DOMException("The upload was called off.", "AbortError"));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(file);
  });
}

function said(sent: XMLHttpRequest): string {
  const body = sent.response as { error?: { message?: string } } | null;
  return body?.error?.message ?? `${sent.status} ${sent.statusText}`;
}
