// What the model said at a step of its training, and how it was scored. The last step is followed until one is chosen.

import { useState } from "react";
import { useTranslation } from "react-i18next";

import { figure, whole } from "./format";
import { Wrong } from "./Page";
import { type Rollouts, type Run, type Sample, usePolled } from "./runs";

export function RolloutsView({ run }: { run: Run }) {
  const { t } = useTranslation();
  const [chosen, setChosen] = useState<number | null>(null);
  const wait = ({ complete }: Rollouts) => (!complete ? 200 : chosen === null && run.running ? 5000 : null);
  const query = chosen === null ? "" : `?step=${chosen}`;
  const { value, problem } = usePolled<Rollouts>(`/app/runs/${encodeURIComponent(run.name)}/rollouts${query}`, wait);
  const [known, setKnown] = useState<Rollouts | null>(null);
  if (value && value !== known) setKnown(value); // which stays shown while another step is on its way
  if (!known || known.step === null) return <Wrong text={problem} />;
  const at = Math.max(0, known.steps.indexOf(chosen ?? known.step));
  const go = (to: number) => setChosen(known.steps[to] ?? null);
  return (
    <section>
      <h2>{t("runs.rollouts")}</h2>
      <p className="soft">{t("runs.rolloutsSay")}</p>
      <div className="stepper">
        <button type="button" disabled={at === 0} onClick={() => go(at - 1)}>
          {t("runs.earlier")}
        </button>
        <label>
          <span>{t("runs.stepAt", { step: whole(known.steps[at]!) })}</span>
          <input
            type="range"
            min={0}
            max={known.steps.length - 1}
            value={at}
            aria-valuetext={t("runs.stepAt", { step: whole(known.steps[at]!) })}
            onChange={(event) => go(Number(event.currentTarget.value))}
          />
        </label>
        <button type="button" disabled={at === known.steps.length - 1} onClick={() => go(at + 1)}>
          {t("runs.later")}
        </button>
      </div>
      <Wrong text={problem} />
      {known.samples.map((sample, index) => (
        <SampleView key={`${known.step} ${index}`} sample={sample} />
      ))}
    </section>
  );
}

function SampleView({ sample }: { sample: Sample }) {
  const { t } = useTranslation();
  const isRight = (sample.parts.correct ?? sample.reward ?? 0) > 0.5;
  return (
    <article className="sample">
      <header>
        <span>{sample.task}</span>
        {sample.reward !== null && (
          <span className={isRight ? "right" : "wrong"}>{t("runs.rewardOf", { reward: figure(sample.reward) })}</span>
        )}
        {sample.tokens !== null && <span className="soft">{t("runs.tokensOf", { count: sample.tokens })}</span>}
        {sample.cut && <span className="wrong">{t("runs.cut")}</span>}
      </header>
      <p className="quote">{sample.prompt}</p>
      {sample.thought && (
        <details>
          <summary>{t("runs.thought")}</summary>
          <p className="quote soft">{sample.thought}</p>
        </details>
      )}
      <dl>
        <dt>{t("runs.answer")}</dt>
        <dd className="quote">{sample.answer || t("runs.noAnswer")}</dd>
        {sample.expected && (
          <>
            <dt>{t("runs.expected")}</dt>
            <dd className="quote">{sample.expected}</dd>
          </>
        )}
      </dl>
      {Object.keys(sample.parts).length > 0 && (
        <ul className="parts">
          {Object.entries(sample.parts).map(([name, value]) => (
            <li key={name}>
              {name} {figure(value)}
            </li>
          ))}
        </ul>
      )}
    </article>
  );
}
