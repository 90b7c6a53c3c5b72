// What was used and what it cost: totals, two plots of days, and a table by day, model or key. From GET /v1/usage.

import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { getJson } from "../api";
import { problemOf } from "../problem";
import { dollars, whole } from "./format";
import { Page, Wrong } from "./Page";
import { type By, everyDay, type UsageReport, type UsageRow } from "./usage";
import { MoneyPlot, TokensPlot } from "./UsagePlots";

const PERIODS = [7, 30, 90, 365];

interface Read {
  report: UsageReport | null;
  problem: string;
}

/** A report; the last one stays shown while the next is on its way. */
function useReport(days: number, by: By): Read {
  const [read, setRead] = useState<Read>({ report: null, problem: "" });
  useEffect(() => {
    const abort = new AbortController();
    getJson<UsageReport>(`/v1/usage?days=${days}&by=${by}`, abort.signal)
      .then((report) => setRead({ report, problem: "" }))
      .catch((error: unknown) => {
        if (!abort.signal.aborted) setRead((before) => ({ ...before, problem: problemOf(error) }));
      });
    return () => abort.abort();
  }, [days, by]);
  return read;
}

export function UsagePage() {
  const { t } = useTranslation();
  const [days, setDays] = useState(30);
  const { report, problem } = useReport(days, "day");
  return (
    <Page title={t("usage.title")} says={t("usage.says")}>
      <label className="choose">
        {t("usage.period")}
        <select value={days} onChange={(event) => setDays(Number(event.currentTarget.value))}>
          {PERIODS.map((period) => (
            <option key={period} value={period}>
              {t("usage.days", { count: period })}
            </option>
          ))}
        </select>
      </label>
      <Wrong text={problem} />
      {report && (
        <>
          {report.data.length === 0 && <p role="status">{t("usage.empty")}</p>}
          <Totals totals={report.totals} />
          <TokensPlot days={everyDay(report, new Date())} />
          <MoneyPlot days={everyDay(report, new Date())} />
          <Table days={days} />
        </>
      )}
    </Page>
  );
}

function Totals({ totals }: { totals: UsageRow }) {
  const { t } = useTranslation();
  const boxes: [string, string][] = [
    [t("usage.requests"), whole(totals.requests)],
    [t("usage.here"), dollars(Number(totals.cost_usd))],
    [t("usage.r1"), dollars(Number(totals.r1_usd))],
    [t("usage.o1"), dollars(Number(totals.o1_usd))],
  ];
  return (
    <dl className="totals">
      {boxes.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Table({ days }: { days: number }) {
  const { t } = useTranslation();
  const [by, setBy] = useState<By>("day");
  const { report, problem } = useReport(days, by);
  const groups: [By, string][] = [
    ["day", t("usage.day")],
    ["model", t("usage.model")],
    ["key", t("usage.key")],
  ];
  const columns: [string, (row: UsageRow) => string][] = [
    [t("usage.requests"), (row) => whole(row.requests)],
    [t("usage.here"), (row) => dollars(Number(row.cost_usd))],
    ["R1", (row) => dollars(Number(row.r1_usd))],
    ["o1", (row) => dollars(Number(row.o1_usd))],
    [t("usage.prompt"), (row) => whole(row.prompt_tokens)],
    [t("usage.cached"), (row) => whole(row.cached_tokens)],
    [t("usage.thought"), (row) => whole(row.thought_tokens)],
    [t("usage.answer"), (row) => whole(row.answer_tokens)],
    [t("usage.seconds"), (row) => whole(row.seconds)],
  ];
  return (
    <section>
      <h2>{t("usage.table")}</h2>
      <label className="choose">
        {t("usage.rows")}
        <select value={by} onChange={(event) => setBy(event.currentTarget.value as By)}>
          {groups.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <Wrong text={problem} />
      {report && (
        <div className="plot" tabIndex={0} role="group" aria-label={t("usage.table")}>
          <table>
            <thead>
              <tr>
                <th scope="col">{groups.find(([value]) => value === report.by)![1]}</th>
                {columns.map(([heading]) => (
                  <th key={heading} scope="col">
                    {heading}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {report.data.toReversed().map((row) => (
                <tr key={row[report.by]}>
                  <th scope="row">{row[report.by]}</th>
                  {columns.map(([heading, of]) => (
                    <td key={heading}>{of(row)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p className="soft">{t("usage.explained")}</p>
    </section>
  );
}
