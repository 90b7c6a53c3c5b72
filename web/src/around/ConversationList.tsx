// The middle of the sidebar: the search of conversations, and under it either its hits or the list by day.

import i18next from "i18next";
import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useRoute } from "wouter";

import { search, useLines } from "../device/lines";
import type { ConversationLine } from "../types";
import { more, reload, useConversations } from "./conversations";
import { type Group, grouped } from "./days";
import { SearchIcon } from "./icons";
import { enterKey } from "./keys";
import { Row } from "./Row";
import { useSearch } from "./useSearch";

export function ConversationList() {
  const { t } = useTranslation();
  const [words, setWords] = useState("");
  const cleared = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !words) return;
    event.preventDefault(); // which would close the drawer around it
    setWords("");
  };
  return (
    <>
      <label className="search">
        <span className="unseen">{t("around.search")}</span>
        <SearchIcon />
        <input
          id="search"
          type="search"
          placeholder={t("around.search")}
          value={words}
          maxLength={200}
          onChange={(event) => setWords(event.currentTarget.value)}
          onKeyDown={cleared}
        />
      </label>
      <div className="conversations">{words.trim() ? <Hits words={words.trim()} /> : <ByDay />}</div>
    </>
  );
}

function ByDay() {
  const { t } = useTranslation();
  const [, route] = useRoute("/c/:id");
  const { lines, next, ready, loading, problem } = useConversations();
  const here = useLines();
  return (
    <>
      {problem && <Problem text={problem} retry={() => void reload()} />}
      <Here lines={here} current={route?.id} />
      {ready && lines.length === 0 && here.length === 0 && <p className="soft">{t("around.none")}</p>}
      {grouped(lines, new Date()).map((group) => (
        <section key={`${group.day} ${group.month?.getTime()}`}>
          <h2>{heading(group)}</h2>
          <ul>
            {group.lines.map((line) => (
              <Row key={line.id} line={line} current={line.id === route?.id} />
            ))}
          </ul>
        </section>
      ))}
      {next && <More busy={loading} alone={!problem} more={() => void more()} />}
    </>
  );
}

/** What lives on this device, above what the server has. */
function Here({ lines, current }: { lines: readonly ConversationLine[]; current: string | undefined }) {
  const { t } = useTranslation();
  if (lines.length === 0) return null;
  return (
    <section>
      <h2>{t("device.name")}</h2>
      <ul>
        {lines.map((line) => (
          <Row key={line.id} line={line} current={line.id === current} />
        ))}
      </ul>
    </section>
  );
}

function heading({ day, month }: Group): string {
  const { t, language } = i18next;
  if (day === "pinned") return t("around.pinned");
  if (day === "today") return t("around.today");
  if (day === "yesterday") return t("around.yesterday");
  if (day === "week") return t("around.week");
  if (day === "month") return t("around.month");
  return new Intl.DateTimeFormat(language, { month: "long", year: "numeric" }).format(month!);
}

function Hits({ words }: { words: string }) {
  const { t } = useTranslation();
  const [, route] = useRoute("/c/:id");
  const { lines, next, searching, problem, more: moreHits } = useSearch(words);
  const [here, setHere] = useState<ConversationLine[]>([]);
  useEffect(() => {
    let isAsked = true;
    void search(words).then((found) => isAsked && setHere(found));
    return () => void (isAsked = false);
  }, [words]);
  const said = searching ? t("around.searching") : t("around.hits", { count: lines.length + here.length });
  return (
    <>
      {problem ? <Problem text={problem} /> : <p className="soft" role="status">{said}</p>}
      <Here lines={here} current={route?.id} />
      <ul>
        {lines.map((line) => (
          <Row key={line.id} line={line} current={line.id === route?.id} />
        ))}
      </ul>
      {next && <More busy={searching} alone={!problem} more={() => void moreHits()} />}
    </>
  );
}

function Problem({ text, retry }: { text: string; retry?: () => void }) {
  const { t } = useTranslation();
  const wantsKey = text === t("app.keyMissing");
  const again = async () => {
    if (wantsKey) await enterKey();
    retry?.();
  };
  return (
    <div className="problem" role="alert">
      <p>{text}</p>
      {(retry || wantsKey) && (
        <button type="button" onClick={() => void again()}>
          {wantsKey ? t("around.enterKey") : t("around.again")}
        </button>
      )}
    </div>
  );
}

/** A button that presses itself when it comes into sight. alone: unless the last time failed. */
function More({ busy, alone, more }: { busy: boolean; alone: boolean; more: () => void }): ReactNode {
  const { t } = useTranslation();
  const button = useRef<HTMLButtonElement>(null);
  const press = useRef(more);
  press.current = more;
  useEffect(() => {
    if (busy || !alone) return;
    const watch = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && press.current());
    watch.observe(button.current!);
    return () => watch.disconnect();
  }, [busy, alone]);
  return (
    <button ref={button} type="button" className="more" aria-disabled={busy} onClick={more}>
      {t("around.more")}
    </button>
  );
}
