// A question that is not asked yet: its text is kept for the time of the tab, its files for as long as the page lives.

import { useSyncExternalStore } from "react";

import { problemOf } from "../problem";
import type { Attachment } from "../types";
import { upload } from "./upload";

/** A file beside the question. done: the part that was sent, 0 to 1. problem: why it cannot be used. */
export interface DraftFile {
  key: number;
  name: string;
  done: number;
  problem: string | null;
  attachment: Attachment | null;
  /** Fewer of its words than it has were taken. */
  cut: boolean;
}

export interface Draft {
  text: string;
  files: readonly DraftFile[];
}

const MOST_FILES = 10;
let keys = 0;

class Drafting {
  draft: Draft;
  private readonly listeners = new Set<() => void>();
  private readonly sending = new Map<number, AbortController>();

  constructor(private readonly place: string) {
    this.draft = { text: sessionStorage.getItem(place) ?? "", files: [] };
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  write(text: string): void {
    this.tell({ text });
    if (text) sessionStorage.setItem(this.place, text);
    else sessionStorage.removeItem(this.place);
  }

  /** Takes what was asked away; `put` brings it back where it was refused. */
  take(): Draft {
    const taken = this.draft;
    this.write("");
    this.tell({ files: [] });
    return taken;
  }

  put(draft: Draft): void {
    if (!this.draft.text) this.write(draft.text);
    this.tell({ files: [...draft.files, ...this.draft.files] });
  }

  /** Returns whether all of them are taken; beyond the most there may be, the rest is left. */
  add(files: readonly File[]): boolean {
    const room = Math.max(0, MOST_FILES - this.draft.files.length);
    for (const file of files.slice(0, room)) void this.send(file);
    return files.length <= room;
  }

  remove(key: number): void {
    this.sending.get(key)?.abort();
    this.tell({ files: this.draft.files.filter((file) => file.key !== key) });
  }

  private async send(file: File): Promise<void> {
    const key = (keys += 1);
    const ending = new AbortController();
    this.sending.set(key, ending);
    this.tell({ files: [...this.draft.files, { key, name: file.name, done: 0, problem: null, attachment: null, cut: false }] });
    try {
      const { cut, ...attachment } = await upload(file, (done) => this.change(key, { done }), ending.signal);
      this.change(key, { attachment, cut, done: 1 });
    } catch (error) {
      if (!ending.signal.aborted) this.change(key, { problem: problemOf(error) });
    } finally {
      this.sending.delete(key);
    }
  }

  private change(key: number, change: Partial<DraftFile>): void {
    this.tell({ files: this.draft.files.map((file) => (file.key === key ? { ...file, ...change } : file)) });
  }

  private tell(change: Partial<Draft>): void {
    this.draft = { ...this.draft, ...change };
    for (const listener of this.listeners) listener();
  }
}

const drafts = new Map<string, Drafting>();

/** The draft of a conversation; null: of one that has not begun. */
export function draftOf(conversation: string | null): Drafting {
  const place = `denken.draft.${conversation ?? "new"}`;
  let drafting = drafts.get(place);
  if (!drafting) drafts.set(place, (drafting = new Drafting(place)));
  return drafting;
}

export function useDraft(drafting: Drafting): Draft {
  return useSyncExternalStore(drafting.subscribe, () => drafting.draft);
}

export type { Drafting };
