// A reply: its thought, its text, its sources, how it ended, and what can be done with it.

import { type ReactNode, type RefObject, memo, useId } from "react";
import { useTranslation } from "react-i18next";

import { CopyButton } from "../markdown/CopyButton";
import { Markdown } from "../markdown/Markdown";
import type { Message } from "../types";
import { asCopied } from "./copied";
import { Details } from "./Details";
import { Icon } from "./Icon";
import { SourceRow, SourcesOf } from "./Sources";
import { Thought } from "./Thought";

interface Props {
  message: Message;
  pageFollows?: RefObject<boolean>;
  /** Asks again; null where nothing can be asked. */
  onAgain?: (() => void) | null;
  /** The arrows between its siblings. */
  children?: ReactNode;
}

export const Answer = memo(function Answer({ message, pageFollows, onAgain = null, children }: Props) {
  const { t } = useTranslation();
  const name = useId();
  const isRunning = message.state === "running";
  const isWaiting = isRunning && !message.thinking && !message.content && message.steps.length === 0;
  return (
    <article className="answer" aria-labelledby={name} aria-busy={isRunning}>
      <h2 id={name} className="unseen">{t("thread.answer")}</h2>
      <SourcesOf sources={message.sources}>
        <Thought message={message} pageFollows={pageFollows ?? null} />
        {isWaiting && <p className="waiting">{t("thread.waiting")}</p>}
        {message.content && <Markdown text={message.content} live={isRunning} />}
        {message.left_out ? <p className="left-out">{t("thread.left_out", { count: message.left_out })}</p> : null}
        {!isRunning && <Ending message={message} onAgain={onAgain} />}
        {!isRunning && <SourceRow sources={message.sources} answer={message.content} />}
      </SourcesOf>
      {!isRunning && (
        <footer className="tools">
          {children}
          <CopyButton bare text={() => asCopied(message)} label={t("thread.copy_answer")} />
          {onAgain && (
            <button type="button" className="quiet" onClick={onAgain} aria-label={t("thread.again")} title={t("thread.again")}>
              <Icon name="again" />
            </button>
          )}
          <Details message={message} />
        </footer>
      )}
    </article>
  );
});

/** Why a reply is not a whole one, in the server's words. */
function Ending({ message, onAgain }: { message: Message; onAgain: (() => void) | null }) {
  const { t } = useTranslation();
  const { state, error, content } = message;
  if (state === "done" && content.trim()) return null;
  const sentence = error?.message ?? t(state === "done" ? "thread.empty" : `thread.${state}`);
  return (
    <div className={state === "failed" ? "ending failed" : "ending"}>
      <p>{sentence}</p>
      {onAgain && (
        <button type="button" className="small" onClick={onAgain}>
          {t("thread.try_again")}
        </button>
      )}
    </div>
  );
}
