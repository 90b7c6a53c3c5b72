// The list of conversations that the sidebar shows, kept outside of React: read page by page, read anew when something
// changed, and while a reply is being written anywhere. What a conversation holds is the thread's affair.

import i18next from "i18next";
import { useEffect, useSyncExternalStore } from "react";

import { getJson, request, sendJson } from "../api";
import { conversationsChanged, onConversationsChanged } from "../changes";
import { linesNow } from "../device/lines";
import { onReturn } from "../offline/reach";
import type { ConversationLine } from "../types";
import { problemOf } from "../problem";

const RUNNING_EVERY_MS = 3000;

export interface Page {
  conversations: ConversationLine[];
  next: string | null;
}

export interface Listed {
  lines: ConversationLine[];
  next: string | null;
  /** Whether the first page has come at all. */
  ready: boolean;
  loading: boolean;
  problem: string;
}

let listed: Listed = { lines: [], next: null, ready: false, loading: false, problem: "" };
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setTimeout> | undefined;
let asked = 0;

export function useConversations(): Listed {
  return useSyncExternalStore(subscribe, () => listed);
}

/** Reads them now, and whenever the page is looked at again. */
export function useReading(): void {
  useEffect(() => {
    const seen = () => document.visibilityState === "visible" && void reload();
    seen();
    document.addEventListener("visibilitychange", seen);
    return () => document.removeEventListener("visibilitychange", seen);
  }, []);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function set(change: Partial<Listed>): void {
  listed = { ...listed, ...change };
  for (const listener of listeners) listener();
}

/** A page's address: what comes after a cursor, what holds the words. */
export function address(before: string | null, words = ""): string {
  const query = new URLSearchParams();
  if (before) query.set("before", before);
  if (words) query.set("q", words);
  return `/app/conversations${query.size ? `?${query}` : ""}`;
}

/** Reads the first page anew; what was read beyond it stays. */
export async function reload(): Promise<void> {
  const mine = ++asked;
  clearTimeout(timer);
  set({ loading: true });
  try {
    const page = await getJson<Page>(address(null));
    if (mine !== asked) return;
    set({ ...merged(page, listed), ready: true, loading: false, problem: "" });
  } catch (error) {
    if (mine === asked) set({ loading: false, problem: problemOf(error) });
  }
  lookAgain();
}

/** Reads the next page, if there is one and none is being read. */
export async function more(): Promise<void> {
  if (listed.loading || !listed.next) return;
  const mine = ++asked;
  set({ loading: true });
  try {
    const page = await getJson<Page>(address(listed.next));
    if (mine !== asked) return;
    const known = new Set(listed.lines.map((line) => line.id));
    const lines = [...listed.lines, ...page.conversations.filter((line) => !known.has(line.id))];
    set({ lines, next: page.next, loading: false, problem: "" });
  } catch (error) {
    if (mine === asked) set({ loading: false, problem: problemOf(error) });
  }
}

/** The first page as it is now, and behind it what was read before and still comes after it. */
export function merged(page: Page, before: Pick<Listed, "lines" | "next">): Pick<Listed, "lines" | "next"> {
  const last = page.conversations.at(-1);
  if (!page.next || !last) return { lines: page.conversations, next: null };
  const fresh = new Set(page.conversations.map((line) => line.id));
  const behind = before.lines.filter((line) => !fresh.has(line.id) && comesAfter(line, last));
  return behind.length
    ? { lines: [...page.conversations, ...behind], next: before.next }
    : { lines: page.conversations, next: page.next };
}

function comesAfter(line: ConversationLine, last: ConversationLine): boolean {
  return line.pinned === last.pinned ? line.updated <= last.updated : last.pinned;
}

function lookAgain(): void {
  if (listed.lines.some((line) => line.running)) timer = setTimeout(() => void reload(), RUNNING_EVERY_MS);
}

function put(line: ConversationLine): void {
  set({ lines: listed.lines.map((other) => (other.id === line.id ? line : other)) });
}

export async function rename(line: ConversationLine, title: string): Promise<void> {
  put({ ...line, title });
  await change(() => sendJson("PATCH", `/app/conversations/${line.id}`, { title }));
}

export async function pin(line: ConversationLine, pinned: boolean): Promise<void> {
  await change(() => sendJson("PATCH", `/app/conversations/${line.id}`, { pinned }));
}

export async function remove(id: string): Promise<void> {
  set({ lines: listed.lines.filter((line) => line.id !== id) });
  await change(() => sendJson("DELETE", `/app/conversations/${id}`));
}

export async function restore(id: string): Promise<void> {
  await change(() => sendJson("POST", `/app/conversations/${id}/restore`));
}

/** Whatever comes of it, everything that shows conversations reads them anew. */
async function change(send: () => Promise<unknown>): Promise<void> {
  try {
    await send();
  } finally {
    conversationsChanged();
  }
}

/** Saves a conversation as a file, under the name that the server gives it. */
export async function exportAs(line: ConversationLine, format: "markdown" | "json"): Promise<void> {
  const headers = { "Accept-Language": i18next.language }; // for the headings in it
  const response = await request(`/app/conversations/${line.id}/export?format=${format}`, { headers });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = fileName(response.headers.get("Content-Disposition") ?? "") ?? `denken.${format === "json" ? "json" : "md"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The name in a Content-Disposition.
 *
 * fileName("attachment; filename*=UTF-8''W%C3%B6rter.md") is "Wörter.md".
 */
export function fileName(disposition: string): string | null {
  const encoded = /filename\*=UTF-8''([^;\s]+)/i.exec(disposition)?.[1];
  try {
    return encoded ? decodeURIComponent(encoded) : null;
  } catch {
    return null;
  }
}

/** What a conversation is called, as far as the list knows it. */
export function titleOf(id: string): string {
  return [...linesNow(), ...listed.lines].find((line) => line.id === id)?.title || i18next.t("around.untitled");
}

onConversationsChanged(() => void reload());
onReturn(() => void reload());
