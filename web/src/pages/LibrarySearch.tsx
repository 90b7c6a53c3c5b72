// What the search finds in the library for some words, as a model would get it.

import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { problemOf } from "../problem";
import { type Document, type Hit, search } from "./library";
import { Wrong } from "./Page";

const AFTER_MS = 250;
const SHOWN_CHARACTERS = 400;

export function LibrarySearch({ open }: { open: (document: Pick<Document, "id" | "title">) => void }) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState("");
  const [found, setFound] = useState<Hit[] | null>(null);
  const [problem, setProblem] = useState("");
  const words = typed.trim();
  useEffect(() => {
    setProblem("");
    if (!words) {
      setFound(null);
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => {
      search(words, abort.signal)
        .then(setFound)
        .catch((error: unknown) => abort.signal.aborted || setProblem(problemOf(error)));
    }, AFTER_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [words]);
  return (
    <search>
      <label className="wide-field">
        <span className="unseen">{t("library.search")}</span>
        <input
          type="search"
          placeholder={t("library.search")}
          value={typed}
          maxLength={300}
          onChange={(event) => setTyped(event.currentTarget.value)}
        />
      </label>
      <Wrong text={problem} />
      <p className="soft" role="status">
        {found && t("library.hits", { count: found.length })}
      </p>
      {found && (
        <ol className="tiles">
          {found.map((hit, index) => (
            <li key={index} className="tile">
              <button type="button" className="tile-title" onClick={() => open({ id: hit.document, title: hit.title })}>
                {hit.title}
              </button>
              {hit.heading && <span className="soft">{hit.heading}</span>}
              <span className="quote">{hit.text.length > SHOWN_CHARACTERS ? `${hit.text.slice(0, SHOWN_CHARACTERS)} …` : hit.text}</span>
            </li>
          ))}
        </ol>
      )}
    </search>
  );
}
