// One training run: where it is, its curves, what it has cost, what its model says, its recipe.

import { useTranslation } from "react-i18next";
import { Link } from "wouter";

import { Curve } from "./Curve";
import { dollars, duration, figure, power, whole } from "./format";
import { Page, Wrong } from "./Page";
import { RolloutsView } from "./RolloutsView";
import { Facts, Progress } from "./RunsPage";
import { type Run, usePolled, whileItRuns } from "./runs";

export function RunView({ name }: { name: string }) {
  const { t } = useTranslation();
  const { value: run, problem } = usePolled<Run>(`/app/runs/${encodeURIComponent(name)}`, whileItRuns);
  return (
    <Page title={name}>
      <Link href="/runs" className="back">
        ← {t("runs.all")}
      </Link>
      <Wrong text={problem} />
      {run && (
        <>
          <p className="now">
            {run.running && <span className="badge">{t("runs.running")}</span>}
            <Facts run={run} />
            <Progress run={run} />
          </p>
          {!run.complete && <p role="status">{t("runs.reading")}</p>}
          <Curves run={run} />
          <Costs run={run} />
          <RolloutsView run={run} />
          {run.recipe && (
            <details className="recipe">
              <summary>{t("runs.recipe")}</summary>
              <pre tabIndex={0}>{run.recipe}</pre>
            </details>
          )}
        </>
      )}
    </Page>
  );
}

function Curves({ run: { series } }: { run: Run }) {
  const { t } = useTranslation();
  if (Object.keys(series).length === 0) return <p role="status">{t("runs.nothingYet")}</p>;
  const line = (label: string, name: string, colour: string, dots = false) => ({
    label,
    points: series[name] ?? [],
    colour,
    dots,
  });
  return (
    <section className="curves" aria-label={t("runs.curves")}>
      <Curve
        title={t("runs.reward")}
        lines={[
          line(t("runs.reward"), "reward", "--accent"),
          line(t("runs.evalAccuracy"), "eval_accuracy", "--right", true),
        ]}
      />
      <Curve title={t("runs.length")} lines={[line(t("runs.tokens"), "length", "--accent")]} />
      <Curve
        title={t("runs.loss")}
        lines={[line(t("runs.loss"), "loss", "--accent"), line(t("runs.evalLoss"), "eval_loss", "--right", true)]}
      />
    </section>
  );
}

/** The ledger as it was last saved, and the time that the log knows. */
function Costs({ run: { ledger, seconds } }: { run: Run }) {
  const { t } = useTranslation();
  const boxes: [string, number | null | undefined, (value: number) => string][] = [
    [t("runs.time"), Math.max(seconds ?? 0, ledger.seconds ?? 0), duration],
    [t("runs.learnt"), ledger.tokens, whole],
    [t("runs.sampled"), ledger.sampled, whole],
    [t("runs.operations"), (ledger.flops ?? 0) + (ledger.sampling_flops ?? 0), power],
    [t("runs.energy"), (ledger.joules ?? 0) / 3.6e6, (value) => `${figure(value)} kWh`],
    [t("runs.cost"), ledger.usd, dollars],
  ];
  const known = boxes.filter(([, value]) => value);
  if (known.length === 0) return null;
  return (
    <section>
      <h2>{t("runs.ledger")}</h2>
      <dl className="totals">
        {known.map(([name, value, write]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{write(value!)}</dd>
          </div>
        ))}
      </dl>
      {ledger.usd_per_core_hour !== undefined && (
        <p className="soft">{t("runs.rate", { rate: dollars(ledger.usd_per_core_hour) })}</p>
      )}
    </section>
  );
}
