// What the model thought: it streams with a running clock in a panel of bounded height, folds when the answer begins, and
// opens again to its full length. Searches are steps in it. A reader who is reading in it is left in peace: it does not fold.

import { type ReactNode, type RefObject, useEffect, useId, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { Markdown } from "../markdown/Markdown";
import type { Message, Source, Step } from "../types";
import { duration, exactly } from "./duration";
import { useFollow } from "./follow";
import { Icon } from "./Icon";
import { isPending } from "./incoming";
import { SourceLine } from "./Sources";
import { parts as partsOf } from "./steps";

/** pageFollows: whether the page follows its end, so that folding moves nobody. */
export function Thought({ message, pageFollows }: { message: Message; pageFollows: RefObject<boolean> | null }) {
  const body = useId();
  const panel = useRef<HTMLDivElement>(null);
  const isThinking = message.state === "running" && message.content === "";
  const [chosen, setChosen] = useState<boolean | null>(null);
  const [bounded, setBounded] = useState(isThinking);
  const open = chosen ?? isThinking;
  const following = useFollow(panel, open && bounded);
  const wasThinking = useRef(isThinking);
  // A thought that is folded is only skipped by the browser, as it was: to take its thousands of elements away, or out of
  // the layout, would stop the page for a moment.
  const parts = useRef<ReactNode>(null);
  if (open) parts.current = <Parts message={message} isThinking={isThinking} />;
  useEffect(() => {
    if (isThinking) setBounded(true);
    else if (wasThinking.current && !(following.now.current && pageFollows?.current !== false)) setChosen((was) => was ?? true);
    wasThinking.current = isThinking;
  }, [isThinking, following.now, pageFollows]);

  if (!message.thought && message.steps.length === 0 && !(isThinking && message.thinking)) return null;

  function toggle() {
    setChosen(!open);
    setBounded(isThinking);
  }

  return (
    <section className="thought">
      <button type="button" className="fold" aria-expanded={open} aria-controls={body} onClick={toggle}>
        <Icon name={message.thinking || message.thought ? "thought" : "search"} />
        <Heading message={message} isThinking={isThinking} />
        <Icon name="fold" />
      </button>
      {parts.current && (
        <div
          id={body}
          ref={panel}
          inert={!open}
          className={["panel", bounded && "bounded", !open && "folded"].filter(Boolean).join(" ")}
          tabIndex={bounded ? 0 : undefined}
        >
          <div>{parts.current}</div>
        </div>
      )}
    </section>
  );
}

function Heading({ message, isThinking }: { message: Message; isThinking: boolean }) {
  const { t } = useTranslation();
  const { thought, steps, thinking, thought_seconds, sources } = message;
  const pending = steps.findLast(isPending);
  if (isThinking && pending) return <span className="working">{t("thought.searching", { query: pending.query })}</span>;
  if (isThinking) return <Clock since={message.created} />;
  if (!thought && steps.length > 0) return <span>{t("thought.searched", { count: sources.length })}</span>;
  if (thinking && thought_seconds >= 0.5) return <span>{t("thought.done", { duration: duration(thought_seconds, t) })}</span>;
  return <span>{t("thought.done_untimed")}</span>;
}

/** since: when the reply was begun, by the server's clock; one that is ahead of ours counts from now. */
function Clock({ since }: { since: number }) {
  const { t } = useTranslation();
  const [first] = useState(() => Math.min(since, Date.now()));
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return <span className="working">{t("thought.running", { duration: duration((now - first) / 1000, t) })}</span>;
}

function Parts({ message, isThinking }: { message: Message; isThinking: boolean }) {
  const found = partsOf(message.thought, message.steps);
  return found.map((part, number) =>
    part.kind === "step" ? (
      <StepView key={number} step={part.step} sources={message.sources} />
    ) : (
      <Markdown key={number} text={part.text} live={isThinking && number === found.length - 1} />
    ),
  );
}

function StepView({ step, sources }: { step: Step; sources: readonly Source[] }) {
  const { t, i18n } = useTranslation();
  const hits = sources.filter((source) => step.sources.includes(source.number));
  const took = step.seconds < 0.05 ? "" : ` · ${exactly(step.seconds, i18n.language, t)}`;
  const said = isPending(step) ? t("thought.searching", { query: step.query }) : t("thought.step_searched", { query: step.query }) + took;
  return (
    <section className="step">
      <h3>
        <Icon name="search" />
        <span className={isPending(step) ? "working" : ""}>{said}</span>
      </h3>
      {step.problem && (
        <p className="problem">
          {t("thought.step_problem")} <span lang="en">{step.problem}</span>
        </p>
      )}
      {hits.length > 0 && (
        <ul>
          {hits.map((source) => (
            <li key={source.number}>
              <SourceLine source={source} />
            </li>
          ))}
        </ul>
      )}
      {!isPending(step) && hits.length === 0 && !step.problem && <p className="none">{t("thought.nothing_new")}</p>}
    </section>
  );
}
