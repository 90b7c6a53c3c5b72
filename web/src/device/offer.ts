// The model on this device: what the server offers, what was fetched, and fetching it. Kept outside of React.
//
// The file lies in the browser's Cache Storage, under its address, which has its digest in it; so do the compiled code
// of llama.cpp, which the service worker hands out. What there is to know of the model lies in localStorage, so that the
// page has it before anything else. What is fetched is kept only if it has the digest that the server said.

import { useSyncExternalStore } from "react";
import { bytes as wasmBytes, url as wasm } from "virtual:wllama/wasm";

import { getJson, request } from "../api";
import { CACHE, type Offer, digest } from "./file";

const KEPT = "denken.device";

/**
 * kept: the model that is here. isSpoilt: its file is gone or is not what was fetched; it stays chosen all the same, so that
 * nothing that was meant for this device goes to the server. done: of what is being fetched, 0 to 1. problem: why it could
 * not be.
 */
export interface OnDevice {
  kept: Offer | null;
  isSpoilt: boolean;
  done: number | null;
  problem: unknown;
}

let told: OnDevice = { kept: read(), isSpoilt: false, done: null, problem: null };
let fetching: AbortController | null = null;
const listeners = new Set<() => void>();

function read(): Offer | null {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "null") as Offer | null;
  } catch {
    return null;
  }
}

function tell(change: Partial<OnDevice>): void {
  told = { ...told, ...change };
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  // What is listening already is not added again.
  addEventListener("storage", elsewhere);
  return () => listeners.delete(listener);
}

export function useOnDevice(): OnDevice {
  return useSyncExternalStore(subscribe, () => told);
}

export function kept(): Offer | null {
  return told.kept;
}

/** Whether this browser can keep and run a model at all: not over plain http from elsewhere, and not an old one. */
export function isAble(): boolean {
  return isSecureContext && "caches" in globalThis && "serviceWorker" in navigator && "locks" in navigator && typeof WebAssembly === "object";
}

/** All that is fetched for a model. */
export function bytesOf(offer: Offer): number {
  return offer.file.bytes + wasmBytes;
}

export function readOffer(): Promise<Offer> {
  return getJson<Offer>("/app/device");
}

/** Fetches a model; what was here before stays until it is whole. Returns whether it is here; what went wrong is told. */
export async function take(offer: Offer): Promise<boolean> {
  fetching?.abort();
  const mine = (fetching = new AbortController());
  tell({ done: 0, problem: null });
  try {
    const cache = await caches.open(CACHE);
    const all = bytesOf(offer);
    const file = await fetched(offer.file.url, mine.signal, (bytes) => mine === fetching && tell({ done: bytes / all }));
    if ((await digest(file)) !== offer.file.sha256) throw new Damaged();
    const code = await fetched(wasm, mine.signal, (bytes) => mine === fetching && tell({ done: (offer.file.bytes + bytes) / all }));
    mine.signal.throwIfAborted();
    await cache.put(offer.file.url, new Response(file, { headers: { "Content-Type": "application/octet-stream" } }));
    await cache.put(wasm, new Response(code, { headers: { "Content-Type": "application/wasm" } }));
    await forgetOthers(cache, [offer.file.url, wasm]);
    localStorage.setItem(KEPT, JSON.stringify(offer));
    // A browser that runs out of space may otherwise throw it away; some ask the person.
    void navigator.storage?.persist?.().catch(() => undefined);
    tell({ kept: offer, isSpoilt: false, done: null });
    return true;
  } catch (error) {
    if (mine === fetching) tell({ done: null, problem: mine.signal.aborted ? null : error });
    return false;
  }
}

/** The file was found to be of no use. */
export function spoil(): void {
  tell({ isSpoilt: true });
}

export function callOff(): void {
  fetching?.abort();
}

/** Takes the model off this device; conversations stay. */
export async function remove(): Promise<void> {
  fetching?.abort();
  localStorage.removeItem(KEPT);
  tell({ kept: null, isSpoilt: false, problem: null });
  await caches.delete(CACHE);
}

/** The model's file, for other programs to open; null where it is not here. */
export async function fileOf(offer: Offer): Promise<Blob | null> {
  const found = await (await caches.open(CACHE)).match(offer.file.url);
  return found ? found.blob() : null;
}

/** What was fetched is not what the server said. */
export class Damaged extends Error {}

async function fetched(path: string, signal: AbortSignal, moved: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  const response = await request(path, { signal, cache: "no-store" });
  const reader = response.body!.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    moved((size += value.byteLength));
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

async function forgetOthers(cache: Cache, paths: string[]): Promise<void> {
  for (const { url } of await cache.keys()) if (!paths.includes(new URL(url).pathname)) await cache.delete(url);
}

/** Another tab has fetched it or taken it away. */
function elsewhere({ key }: StorageEvent): void {
  if (key === KEPT || key === null) tell({ kept: read(), isSpoilt: false });
}
