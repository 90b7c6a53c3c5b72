// The person's own documents, which the search can look in: listed, added, searched, read, taken away.

import { useCallback, useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { Dialog } from "../around/Dialog";
import { problemOf } from "../problem";
import { notify } from "../around/toasts";
import { readState } from "../state";
import { day, whole } from "./format";
import { AddDocuments } from "./LibraryAdd";
import { LibrarySearch } from "./LibrarySearch";
import { type Document, documents, isAddress, remove, textOf } from "./library";
import { Page, Wrong } from "./Page";

export function LibraryPage() {
  const { t } = useTranslation();
  const [listed, setListed] = useState<Document[] | null>(null);
  const [problem, setProblem] = useState("");
  const [shown, setShown] = useState<Pick<Document, "id" | "title"> | null>(null);
  const read = useCallback(async () => {
    try {
      setListed(await documents());
      setProblem("");
    } catch (error) {
      setProblem(problemOf(error));
    }
  }, []);
  useEffect(() => void read(), [read]);
  // What can be searched is part of what the server says of itself; the composer offers it.
  const changed = async () => {
    await read();
    await readState();
  };
  return (
    <Page title={t("library.title")} says={t("library.says")}>
      <AddDocuments added={() => void changed()} />
      <Wrong text={problem} />
      {listed && listed.length > 0 && <LibrarySearch open={setShown} />}
      {listed?.length === 0 && <p className="soft">{t("library.none")}</p>}
      {listed && listed.length > 0 && (
        <>
          <h2>{t("library.documents", { count: listed.length })}</h2>
          <ul className="tiles">
            {listed.map((document) => (
              <Line key={document.id} document={document} open={setShown} removed={() => void changed()} />
            ))}
          </ul>
        </>
      )}
      {shown && <Reading document={shown} onClose={() => setShown(null)} />}
    </Page>
  );
}

interface LineProps {
  document: Document;
  open: (document: Document) => void;
  removed: () => void;
}

function Line({ document, open, removed }: LineProps) {
  const { t } = useTranslation();
  const [asking, setAsking] = useState(false);
  return (
    <li className="tile document">
      <button type="button" className="tile-title" onClick={() => open(document)}>
        {document.title}
      </button>
      {document.own && (
        <button type="button" className="danger" onClick={() => setAsking(true)} aria-label={t("library.removeOf", { title: document.title })}>
          {t("library.remove")}
        </button>
      )}
      <span className="soft facts">
        {document.source !== document.title && (isAddress(document.source) ? <Source url={document.source} /> : <span>{document.source}</span>)}
        <span>{t("library.added", { when: day(document.added) })}</span>
        <span>{t("library.characters", { count: document.characters, number: whole(document.characters) })}</span>
        <span>{t("library.passages", { count: document.passages })}</span>
        {!document.own && <span>{t("library.everybodys")}</span>}
      </span>
      {asking && <Removing document={document} onClose={() => setAsking(false)} removed={removed} />}
    </li>
  );
}

function Source({ url }: { url: string }) {
  return (
    <a href={url} target="_blank" rel="noopener noreferrer">
      {url}
    </a>
  );
}

/** Asks first: a document that is gone has to be added again. */
function Removing({ document, onClose, removed }: { document: Document; onClose: () => void; removed: () => void }) {
  const { t } = useTranslation();
  const take = async () => {
    onClose();
    try {
      await remove(document.id);
      notify(t("library.removed", { title: document.title }));
    } catch (error) {
      notify(problemOf(error));
    }
    removed();
  };
  return (
    <Dialog title={t("library.removeTitle")} onClose={onClose}>
      <p>{t("library.removeSays", { title: document.title })}</p>
      <div className="actions">
        <button type="button" onClick={onClose}>
          {t("library.keep")}
        </button>
        <button type="button" className="danger" onClick={() => void take()}>
          {t("library.remove")}
        </button>
      </div>
    </Dialog>
  );
}

/** The text as the search has it. */
function Reading({ document, onClose }: { document: Pick<Document, "id" | "title">; onClose: () => void }) {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    textOf(document.id, abort.signal)
      .then(setText)
      .catch((error: unknown) => abort.signal.aborted || setProblem(problemOf(error)));
    return () => abort.abort();
  }, [document.id]);
  return (
    <Dialog title={document.title} className="reading" onClose={onClose}>
      <p className="soft">{t("library.asSearched")}</p>
      <Wrong text={problem} />
      <p className="quote" tabIndex={0}>
        {text}
      </p>
    </Dialog>
  );
}
