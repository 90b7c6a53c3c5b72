// Requests to the server: the key goes into a header, never into an address; errors become `Refusal`s with the
// server's own sentence. A key that is missing or wrong is asked for once, by whoever listens to `onKeyWanted`.

import { heard } from "./offline/reach";

const KEY = "denken.key";

export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string | null,
  ) {
    super(message);
  }
}

/** The server was not reached at all. */
export class Unreachable extends Error {}

export function key(): string | null {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
}

export function keepKey(secret: string, remember: boolean): void {
  forgetKey();
  (remember ? localStorage : sessionStorage).setItem(KEY, secret);
}

export function forgetKey(): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
}

type Asks = (wrong: boolean) => Promise<boolean>;
let askForKey: Asks = async () => false;

/** asks: shows the question for a key; resolves to whether one was given. */
export function onKeyWanted(asks: Asks): void {
  askForKey = asks;
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const secret = key();
    const headers = new Headers(init.headers);
    if (secret) headers.set("Authorization", `Bearer ${secret}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers });
      heard(true);
    } catch (error) {
      if (init.signal?.aborted) throw error;
      heard(false);
      throw new Unreachable(String(error));
    }
    if (response.ok) return response;
    // Another request may have got a key meanwhile.
    if (response.status === 401 && (key() !== secret || (await askForKey(secret !== null)))) continue;
    throw await refusal(response);
  }
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, { signal })).json()) as T;
}

export async function sendJson<T>(method: "POST" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  return (await (await request(path, init)).json()) as T;
}

async function refusal(response: Response): Promise<Refusal> {
  try {
    const { error } = (await response.json()) as { error: { message: string; code: string | null } };
    return new Refusal(error.message, response.status, error.code);
  } catch {
    return new Refusal(`${response.status} ${response.statusText}`, response.status, null);
  }
}
