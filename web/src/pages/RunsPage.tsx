// Training runs: the list of them, or one as it goes.

import { useTranslation } from "react-i18next";
import { Link } from "wouter";

import { dollars, moment, whole } from "./format";
import { Page, Wrong } from "./Page";
import { RunView } from "./RunView";
import { type RunLine, usePolled, whileAnyRuns } from "./runs";

export function RunsPage({ name }: { name?: string }) {
  return name ? <RunView key={name} name={name} /> : <List />;
}

function List() {
  const { t } = useTranslation();
  const { value, problem } = usePolled<{ runs: RunLine[] }>("/app/runs", whileAnyRuns);
  return (
    <Page title={t("runs.title")} says={t("runs.says")}>
      <Wrong text={problem} />
      {value?.runs.length === 0 && <p role="status">{t("runs.none")}</p>}
      <ul className="tiles">
        {value?.runs.map((run) => (
          <li key={run.name}>
            <Link href={`/runs/${encodeURIComponent(run.name)}`} className="tile">
              <span className="tile-title">
                {run.name}
                {run.running && <span className="badge">{t("runs.running")}</span>}
              </span>
              <Facts run={run} />
              <Progress run={run} />
            </Link>
          </li>
        ))}
      </ul>
    </Page>
  );
}

/** How it learns, when it was last heard of, what it has cost. */
export function Facts({ run }: { run: RunLine }) {
  const { t } = useTranslation();
  const kind = { learn: t("runs.kindLearn"), sample: t("runs.kindSample") }[run.kind] ?? t("runs.kindRewards", { algorithm: run.kind.toUpperCase() });
  return (
    <span className="soft facts">
      <span>{kind}</span>
      <span>{t("runs.updated", { when: moment(run.updated) })}</span>
      {run.cost_usd !== null && <span>{dollars(run.cost_usd)}</span>}
    </span>
  );
}

export function Progress({ run }: { run: RunLine }) {
  const { t } = useTranslation();
  const said = run.steps
    ? t("runs.stepOf", { step: whole(run.step), steps: whole(run.steps) })
    : t("runs.stepAt", { step: whole(run.step) });
  return (
    <span className="steps">
      {run.steps !== null && <progress max={run.steps} value={Math.min(run.step, run.steps)} aria-label={said} />}
      <span>{said}</span>
    </span>
  );
}
