// A file on its way to the server, with how far it is: `fetch` does not tell, XMLHttpRequest does.

import { key, Refusal, Unreachable } from "./api";

/**
 * moved: called with the share that was sent, from 0 to 1. signal: calls it off, with an AbortError. Raises what `request`
 * raises; asks for no key.
 */
export function send<T>(path: string, file: Blob, moved: (share: number) => void, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    const secret = key();
    if (secret) sending.setRequestHeader("Authorization", `Bearer ${secret}`);
    sending.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    sending.upload.onprogress = ({ loaded, total }) => moved(total ? loaded / total : 0);
    sending.upload.onload = () => moved(1);
    sending.onerror = () => reject(new Unreachable(path));
    sending.onabort = () => reject(new DOMException("The upload was called off.", "AbortError"));
    signal?.addEventListener("abort", () => sending.abort());
    sending.onload = () => {
      const record = read(sending.responseText);
      if (sending.status >= 200 && sending.status < 300) resolve(record as T);
      else reject(refusal(record, sending));
    };
    sending.send(file);
  });
}

function read(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function refusal(record: unknown, { status, statusText }: XMLHttpRequest): Refusal {
  const error = (record as { error?: { message: string; code: string | null } } | null)?.error;
  return new Refusal(error?.message ?? `${status} ${statusText}`, status, error?.code ?? null);
}
