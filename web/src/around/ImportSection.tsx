// Conversations from the files that ChatGPT and DeepSeek export: chosen, sent with a measure of how far it is, and
// what came of it. What is in such a file is the server's affair.

import { type ChangeEvent, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { conversationsChanged } from "../changes";
import { problemOf } from "../problem";
import { Section } from "./SettingsDialog";
import { send } from "../upload";

interface Imported {
  imported: number;
  skipped: number;
  problems: string[];
}

export function ImportSection() {
  const { t } = useTranslation();
  const input = useRef<HTMLInputElement>(null);
  /** From 0 to 1 while the file is on its way; 1 while the server reads it; null otherwise. */
  const [share, setShare] = useState<number | null>(null);
  const [result, setResult] = useState<Imported | null>(null);
  const [problem, setProblem] = useState("");

  const chosen = async (event: ChangeEvent<HTMLInputElement>) => {
    const file = event.currentTarget.files?.[0];
    if (!file) return;
    setResult(null);
    setProblem("");
    setShare(0);
    try {
      setResult(await send<Imported>("/app/import", file, setShare));
      conversationsChanged();
    } catch (error) {
      setProblem(problemOf(error));
    }
    setShare(null);
    if (input.current) input.current.value = ""; // so that the same file can be chosen again
  };
  return (
    <Section title={t("settings.import")} says={t("settings.importSays")}>
      <input ref={input} type="file" accept=".json,.zip" hidden onChange={(event) => void chosen(event)} />
      <button type="button" disabled={share !== null} onClick={() => input.current!.click()}>
        {t("settings.importChoose")}
      </button>
      {share !== null && (
        <p>
          <progress max={1} value={share < 1 ? share : undefined} aria-label={t("settings.importing")} />{" "}
          {share < 1 ? t("settings.importing") : t("settings.importReading")}
        </p>
      )}
      <div role="status">
        {result && (
          <>
            <p>
              {t("settings.imported", { count: result.imported })}{" "}
              {result.skipped > 0 && t("settings.importSkipped", { count: result.skipped })}
            </p>
            {result.problems.length > 0 && (
              <ul className="problems">
                {result.problems.map((each, index) => (
                  <li key={index}>{each}</li>
                ))}
              </ul>
            )}
          </>
        )}
      </div>
      {problem && (
        <p className="wrong" role="alert">
          {problem}
        </p>
      )}
    </Section>
  );
}
