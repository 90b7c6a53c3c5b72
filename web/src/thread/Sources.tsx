// Where an answer has its facts from: numbered chips in the text, a row of sources under it, and for each a card with
// the excerpt as it was stored. A number that no source has is not shown.

import { type ReactNode, createContext, useContext, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { safeAddress } from "../markdown/Link";
import type { Source } from "../types";
import { Icon } from "./Icon";
import { place } from "./Popup";

const Known = createContext<readonly Source[]>([]);
const Open = createContext<(source: Source, anchor: Element) => void>(() => undefined);

/** The sources that citations within it mean. */
export function SourcesOf({ sources, children }: { sources: readonly Source[]; children: ReactNode }) {
  return <Known value={sources}>{children}</Known>;
}

/** A number in the text; nothing where there is no such source. */
export function Citation({ number }: { number: number }) {
  const { t } = useTranslation();
  const source = useContext(Known).find((known) => known.number === number);
  const open = useContext(Open);
  if (!source) return null;
  return (
    <button
      type="button"
      className="citation"
      aria-label={t("sources.citation", { number, title: source.title })}
      title={source.title}
      onClick={(event) => open(source, event.currentTarget)}
    >
      {number}
    </button>
  );
}

/** One source as a line that opens its card. */
export function SourceLine({ source }: { source: Source }) {
  const open = useContext(Open);
  const where = useWhere(source);
  return (
    <button type="button" className="source" onClick={(event) => open(source, event.currentTarget)}>
      <span className="number">{source.number}</span>
      <span className="title">{source.title || where}</span>
      <span className="where">{where}</span>
    </button>
  );
}

/** The sources that the answer cites; all that were found where it cites none. */
export function SourceRow({ sources, answer }: { sources: readonly Source[]; answer: string }) {
  const { t } = useTranslation();
  if (sources.length === 0) return null;
  const numbers = new Set([...answer.matchAll(/citation:\s*(\d+)/g)].map((match) => Number(match[1])));
  const cited = sources.filter((source) => numbers.has(source.number));
  const label = t(cited.length > 0 ? "sources.cited" : "sources.not_cited");
  return (
    <section className="sources" aria-label={label}>
      <h3>{label}</h3>
      <ul>
        {(cited.length > 0 ? cited : sources).map((source) => (
          <li key={source.number}>
            <SourceLine source={source} />
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Everything within it can open cards of sources; there is one card for all. */
export function SourceCards({ children }: { children: ReactNode }) {
  const [source, setSource] = useState<Source | null>(null);
  const card = useRef<HTMLDivElement>(null);

  function open(wanted: Source, anchor: Element) {
    setSource(wanted);
    place(card.current!, anchor);
    card.current!.showPopover();
  }

  return (
    <Open value={open}>
      {children}
      <div ref={card} popover="auto" role="dialog" aria-labelledby="source-title" className="popup source-card">
        {source && <Card source={source} onClose={() => card.current!.hidePopover()} />}
      </div>
    </Open>
  );
}

function Card({ source, onClose }: { source: Source; onClose: () => void }) {
  const { t, i18n } = useTranslation();
  const where = useWhere(source);
  return (
    <>
      <header>
        <h2 id="source-title">
          <span className="number">{source.number}</span> {source.title || where}
        </h2>
        <button type="button" className="quiet" onClick={onClose} aria-label={t("sources.close")} autoFocus>
          <Icon name="close" />
        </button>
      </header>
      <p className="where">
        <Address source={source} where={where} />
        {source.published && <> · {published(source.published, i18n.language)}</>}
      </p>
      <blockquote>{source.excerpt}</blockquote>
      <p className="note">{t("sources.stored")}</p>
    </>
  );
}

function Address({ source, where }: { source: Source; where: string }) {
  const url = safeAddress(source.url);
  if (url === null) return <>{where}</>;
  return (
    <a href={url.href} target="_blank" rel="noopener noreferrer">
      {url.href}
    </a>
  );
}

/** The host, or that it is from the library. */
function useWhere({ url }: Source): string {
  const { t } = useTranslation();
  if (url.startsWith("library:")) return t("sources.library");
  return safeAddress(url)?.host.replace(/^www\./, "") ?? url;
}

/** A date as people write it; what is no date stays as the page had it. */
function published(date: string, language: string): string {
  const time = /^\d{4}-\d{2}-\d{2}/.test(date) ? Date.parse(date.slice(0, 10)) : NaN;
  return Number.isNaN(time) ? date : new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" }).format(time);
}
