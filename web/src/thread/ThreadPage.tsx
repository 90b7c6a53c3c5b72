// One conversation: its messages, and at the bottom the composer.

import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { useLocation } from "wouter";

import { Composer } from "../composer/Composer";
import { draftOf } from "../composer/draft";
import { asTurn, useAnswering, useSettings } from "../composer/settings";
import { warm } from "../device/model";
import { rehearseAll } from "../markdown/rehearsal";
import type { Attachment } from "../types";
import { useFollow } from "./follow";
import { Icon } from "./Icon";
import { Messages } from "./Messages";
import { SourceCards } from "./Sources";
import { type Thread, UNREACHABLE, type View, threadOf } from "./thread";
import { Welcome } from "./Welcome";
import "./thread.css";

/** id null: one that has not begun. */
export function ThreadPage({ id }: { id: string | null }) {
  const thread = useMemo(() => threadOf(id), [id]);
  const [, navigate] = useLocation();

  useEffect(() => {
    void thread.load();
    const look = () => document.hidden || thread.isBusy || void thread.load();
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      thread.staysHere = false;
    };
  }, [thread]);

  useEffect(() => {
    // The address becomes the conversation's; the thread, and with it the stream, stays the same.
    thread.onBegun = (begun) => id === null && navigate(`/c/${begun}`);
    return () => void (thread.onBegun = () => undefined);
  }, [thread, id, navigate]);

  return <ThreadView key={thread.number} thread={thread} />;
}

function ThreadView({ thread }: { thread: Thread }) {
  const { t } = useTranslation();
  const view = useSyncExternalStore(thread.subscribe, () => thread.view);
  const answering = useAnswering(thread);
  const { here } = answering;
  const settings = useSettings();
  const scroller = useRef<HTMLDivElement>(null);
  const isFirst = view.phase === "ready" && view.path.length === 0;
  const { now, atEnd, toEnd } = useFollow(scroller, !isFirst);
  const drafting = draftOf(thread.id);
  const isBusy = view.running !== null;
  useEffect(() => void rehearseAll(), []);
  useEffect(() => void (here && warm()), [here]);
  useTitle(view.title);
  useKeys(thread, isBusy);

  const ask = useCallback(
    async (content: string, attachments: Attachment[]) => {
      toEnd();
      const turn = { ...asTurn(settings, answering), parent: view.path.at(-1) ?? null, content };
      await thread.ask({ ...turn, attachments: attachments.map((file) => file.id) }, attachments, here);
    },
    [thread, settings, answering, here, view.path, toEnd],
  );

  return (
    <SourceCards>
      <div className={isFirst ? "thread first" : "thread"}>
        <div ref={scroller} className="scroller" tabIndex={-1}>
          <div className="column">
            {!isFirst && <h1 className="unseen">{view.title || t("thread.untitled")}</h1>}
            {isFirst && <Welcome model={answering.model} onAsk={(text) => void ask(text, []).catch((error: unknown) => thread.say(error))} />}
            <Phase view={view} onAgain={() => void thread.load()} />
            <Messages thread={thread} path={view.path} busy={isBusy} pageFollows={now} />
          </div>
        </div>
        <div className="foot">
          {!atEnd && (
            <button type="button" className="to-end" onClick={toEnd} aria-label={t("thread.to_end")} title={t("thread.to_end")}>
              <Icon name="down" />
            </button>
          )}
          {view.lost && (
            <p className="lost" role="status">
              {t("thread.lost")}
            </p>
          )}
          {view.problem && view.phase === "ready" && <Problem thread={thread} problem={view.problem} />}
          {view.phase !== "missing" && <Composer thread={thread} drafting={drafting} busy={isBusy} answering={answering} onAsk={ask} />}
          <p className="fine">{t("thread.fine")}</p>
        </div>
        <Announced view={view} thread={thread} />
      </div>
    </SourceCards>
  );
}

/** A conversation that is not there (yet), and why. */
function Phase({ view, onAgain }: { view: View; onAgain: () => void }) {
  const { t } = useTranslation();
  if (view.phase === "loading") return <p className="phase loading">{t("thread.loading")}</p>;
  if (view.phase === "missing") return <p className="phase">{t("thread.missing")}</p>;
  if (view.phase === "ready") return null;
  return (
    <div className="phase" role="alert">
      <p>{said(view.problem, t)}</p>
      <button type="button" className="small" onClick={onAgain}>
        {t("thread.try_again")}
      </button>
    </div>
  );
}

function Problem({ thread, problem }: { thread: Thread; problem: string }) {
  const { t } = useTranslation();
  return (
    <div className="notice" role="alert">
      <p>{said(problem, t)}</p>
      <button type="button" className="quiet" onClick={() => thread.forgetProblem()} aria-label={t("thread.dismiss")}>
        <Icon name="close" />
      </button>
    </div>
  );
}

function said(problem: string | null, t: ReturnType<typeof useTranslation>["t"]): string {
  return problem === UNREACHABLE ? t(UNREACHABLE) : (problem ?? "");
}

/** Tells those who do not see it that the model thinks and that the answer is there; not every word of it. */
function Announced({ view, thread }: { view: View; thread: Thread }) {
  const { t } = useTranslation();
  const [said, setSaid] = useState("");
  const before = useRef<string | null>(null);
  useEffect(() => {
    if (view.running !== null) setSaid(t("thread.announce_thinking"));
    else if (before.current !== null) {
      const last = thread.messages.get(view.path.at(-1) ?? "");
      setSaid(last?.state === "done" ? t("thread.announce_done") : (last?.error?.message ?? t("thread.announce_ended")));
    }
    before.current = view.running;
  }, [view.running, view.path, thread, t]);
  return (
    <p className="unseen" aria-live="polite">
      {said}
    </p>
  );
}

function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · denken` : "denken";
    return () => void (document.title = "denken");
  }, [title]);
}

/** "/" goes to the composer, Escape stops the reply; not while something is typed or open that wants the key. */
function useKeys(thread: Thread, isBusy: boolean): void {
  useEffect(() => {
    function onKeyDown(event: KeyboardEvent) {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (document.querySelector("dialog[open], :popover-open")) return;
      const isTyping = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]") !== null;
      if (event.key === "/" && !isTyping) {
        event.preventDefault();
        document.querySelector<HTMLTextAreaElement>(".composer textarea")?.focus();
      } else if (event.key === "Escape" && isBusy) {
        event.preventDefault();
        thread.stop().catch((error: unknown) => thread.say(error));
      }
    }
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [thread, isBusy]);
}
