// A conversation that somebody shared by a link: to be read, without a key, with nothing around it.

import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { Refusal } from "../api";
import { problemOf } from "../problem";
import { Answer } from "../thread/Answer";
import { Question } from "../thread/Question";
import { SourceCards } from "../thread/Sources";
import type { Message } from "../types";
import { day } from "./format";
import { Page, Wrong } from "./Page";

interface Shared {
  title: string;
  created: number;
  messages: Message[];
}

export function SharedPage({ token }: { token: string }) {
  const { t } = useTranslation();
  const [shared, setShared] = useState<Shared | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    read(token, abort.signal)
      .then(setShared)
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        setProblem(error instanceof Refusal && error.status === 404 ? t("shared.gone") : problemOf(error));
      });
    return () => abort.abort();
  }, [token, t]);
  return (
    <main className="shared" id="main">
      <Page title={shared?.title || t("shared.title")} says={shared && t("shared.says", { when: day(shared.created) })}>
        <Wrong text={problem} />
        {shared && <h2 className="unseen">{t("shared.messages")}</h2>}
        <SourceCards>
          {shared?.messages.map((message) =>
            message.role === "user" ? (
              <Question key={message.id} message={message} />
            ) : (
              <Answer key={message.id} message={message} />
            ),
          )}
        </SourceCards>
        <p className="made-with">
          <a href="/">{t("shared.madeWith")}</a>
        </p>
      </Page>
    </main>
  );
}

/** Without the reader's key, should they have one: whoever shared it knows nothing of who reads it. */
async function read(token: string, signal: AbortSignal): Promise<Shared> {
  const response = await fetch(`/app/shared/${encodeURIComponent(token)}`, { signal });
  if (response.ok) return (await response.json()) as Shared;
  const { error } = (await response.json().catch(() => ({}))) as { error?: { message: string; code: string | null } };
  throw new Refusal(error?.message ?? response.statusText, response.status, error?.code ?? null);
}
