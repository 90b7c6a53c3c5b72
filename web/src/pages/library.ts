// The person's own documents on the server: records as they come, and what is asked for them.

import { getJson, sendJson } from "../api";
import { send } from "../upload";

export interface Document {
  id: string;
  title: string;
  /** The name of the file, or the address of the page. */
  source: string;
  added: number;
  characters: number;
  passages: number;
  /** Whether it is the asker's: what the owner of the machine added for everybody is taken away by nobody else. */
  own: boolean;
}

export interface Hit {
  document: string;
  title: string;
  heading: string;
  text: string;
}

export const MOST_BYTES = 16 * 2 ** 20;
export const KINDS = ".txt,.md,.pdf,.docx,.html,.htm,.csv";

export const documents = async (signal?: AbortSignal) =>
  (await getJson<{ documents: Document[] }>("/app/library", signal)).documents;

export const addFile = (file: File, moved: (share: number) => void) =>
  send<Document>(`/app/library?name=${encodeURIComponent(file.name)}`, file, moved);

export const addPage = (url: string) => sendJson<Document>("POST", "/app/library", { url });

export const remove = (id: string) => sendJson("DELETE", `/app/library/${id}`);

export const textOf = async (id: string, signal?: AbortSignal) =>
  (await getJson<Document & { text: string }>(`/app/library/${id}`, signal)).text;

export const search = async (words: string, signal?: AbortSignal) =>
  (await getJson<{ hits: Hit[] }>(`/app/library/search?q=${encodeURIComponent(words)}`, signal)).hits;

/** Whether a source is an address that a link may lead to. */
export const isAddress = (source: string) => /^https?:\/\//.test(source);
