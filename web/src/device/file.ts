// The model as a file: what the server says of it (GET /app/device), and where the browser keeps it.

import type { About } from "../types";

/** The service worker knows this name as well (worker/sw.js). */
export const CACHE = "denken-device";

export interface Sampling {
  temperature: number;
  top_p: number;
  top_k: number;
  min_p: number;
}

export interface Offer {
  id: string;
  context: number;
  about: About;
  languages: string[];
  sampling: Sampling;
  /** The ids of control tokens by name. */
  controls: Record<string, number>;
  file: { url: string; bytes: number; sha256: string };
}

/** SHA-256 in hexadecimal digits. */
export async function digest(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string> {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
