// Conversations that hold the words, asked for a moment after the last key; what is not wanted any more is aborted.

import { useEffect, useState } from "react";

import { getJson } from "../api";
import { onConversationsChanged } from "../changes";
import type { ConversationLine } from "../types";
import { address, type Page } from "./conversations";
import { problemOf } from "../problem";

const AFTER_MS = 200;

export interface Hits {
  lines: ConversationLine[];
  next: string | null;
  searching: boolean;
  problem: string;
}

const NONE: Hits = { lines: [], next: null, searching: false, problem: "" };

export function useSearch(words: string): Hits & { more: () => Promise<void> } {
  const [hits, setHits] = useState(NONE);
  const [round, setRound] = useState(0);
  useEffect(() => onConversationsChanged(() => setRound((before) => before + 1)), []);
  useEffect(() => {
    if (!words) {
      setHits(NONE);
      return;
    }
    const abort = new AbortController();
    setHits((before) => ({ ...before, searching: true, problem: "" }));
    const timer = setTimeout(async () => {
      try {
        const page = await getJson<Page>(address(null, words), abort.signal);
        setHits({ lines: page.conversations, next: page.next, searching: false, problem: "" });
      } catch (error) {
        if (!abort.signal.aborted) setHits({ ...NONE, problem: problemOf(error) });
      }
    }, AFTER_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [words, round]);

  const more = async () => {
    if (!hits.next || hits.searching) return;
    setHits({ ...hits, searching: true });
    try {
      const page = await getJson<Page>(address(hits.next, words));
      setHits((now) => ({ ...now, lines: [...now.lines, ...page.conversations], next: page.next, searching: false }));
    } catch (error) {
      setHits((now) => ({ ...now, searching: false, problem: problemOf(error) }));
    }
  };
  return { ...hits, more };
}
