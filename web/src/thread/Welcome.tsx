// A conversation that has not begun: a greeting, what the model can do where it cannot do everything, and questions that
// it is good at.

import { useTranslation } from "react-i18next";

import type { Language } from "../i18n";
import type { Model } from "../types";

const EXAMPLES = 3;

export function Welcome({ model, onAsk }: { model: Pick<Model, "id" | "about"> | null; onAsk: (question: string) => void }) {
  const { t, i18n } = useTranslation();
  const language: Language = i18n.language === "de" ? "de" : "en";
  const about = model?.about;
  const summary = about && (about.summary[language] ?? about.summary.en);
  const examples = about ? (about.examples[language] ?? about.examples.en ?? []).slice(0, EXAMPLES) : [];
  return (
    <section className="welcome">
      <h1>{t("thread.greeting")}</h1>
      {about && !about.chats_freely && (
        <p className="summary">
          {t("thread.not_freely", { model: model.id })} {summary}
        </p>
      )}
      {about?.chats_freely && summary && <p className="summary">{summary}</p>}
      {examples.length > 0 && (
        <ul aria-label={t("thread.examples")}>
          {examples.map((question) => (
            <li key={question}>
              <button type="button" onClick={() => onAsk(question)}>
                {question}
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
