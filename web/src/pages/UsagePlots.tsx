// Two plots of days, drawn as SVG: tokens on top of one another, amounts side by side. The table says the same in text.

import i18next from "i18next";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";

import { dollars, short, whole } from "./format";
import { type DayRow, decades, scale } from "./usage";

// Width and height, and the room around the plot for its labels.
const [WIDTH, HEIGHT, LEFT, RIGHT, BELOW, TOP] = [720, 220, 64, 12, 22, 8];
const FLOOR = HEIGHT - BELOW;

interface Kind {
  name: string;
  label: string;
  of: (row: DayRow) => number;
}

export function TokensPlot({ days }: { days: DayRow[] }) {
  const { t } = useTranslation();
  const kinds: Kind[] = [
    { name: "prompt", label: t("usage.prompt"), of: (row) => row.prompt_tokens - row.cached_tokens },
    { name: "cached", label: t("usage.cached"), of: (row) => row.cached_tokens },
    { name: "thought", label: t("usage.thought"), of: (row) => row.thought_tokens },
    { name: "answer", label: t("usage.answer"), of: (row) => row.answer_tokens },
  ];
  const values = scale(Math.max(1, ...days.map((row) => kinds.reduce((sum, kind) => sum + kind.of(row), 0))));
  const y = (value: number) => FLOOR - ((FLOOR - TOP) * value) / values.at(-1)!;
  return (
    <Plot title={t("usage.tokens")} kinds={kinds} days={days} values={values} y={y} label={short}>
      {(row, x, slot) => {
        let below = 0;
        return kinds.map((kind) => {
          const [bottom, top] = [y(below), y((below += kind.of(row)))];
          const hint = `${row.day}, ${kind.label}: ${whole(kind.of(row))}`;
          return <Bar key={kind.name} name={kind.name} x={x + 0.15 * slot} width={0.7 * slot} top={top} bottom={bottom} hint={hint} />;
        });
      }}
    </Plot>
  );
}

/** The three prices are powers of ten apart, and so are the lines. */
export function MoneyPlot({ days }: { days: DayRow[] }) {
  const { t } = useTranslation();
  const kinds: Kind[] = [
    { name: "here", label: t("usage.here"), of: (row) => Number(row.cost_usd) },
    { name: "r1", label: t("usage.r1"), of: (row) => Number(row.r1_usd) },
    { name: "o1", label: t("usage.o1"), of: (row) => Number(row.o1_usd) },
  ];
  const values = decades(days.flatMap((row) => kinds.map((kind) => kind.of(row))));
  const [first, last] = [Math.log10(values[0]!), Math.log10(values.at(-1)!)];
  const y = (value: number) => FLOOR - ((FLOOR - TOP) * (Math.log10(value) - first)) / (last - first);
  return (
    <Plot title={t("usage.money")} kinds={kinds} days={days} values={values} y={y} label={dollars}>
      {(row, x, slot) =>
        kinds.map((kind, place) => {
          const amount = kind.of(row);
          if (!amount) return null;
          const top = Math.min(y(amount), FLOOR - 2); // a bar at the very bottom would not be seen
          const hint = `${row.day}, ${kind.label}: ${dollars(amount)}`;
          const left = x + (0.15 + place * 0.24) * slot;
          return <Bar key={kind.name} name={kind.name} x={left} width={0.22 * slot} top={top} bottom={FLOOR} hint={hint} />;
        })
      }
    </Plot>
  );
}

interface PlotProps {
  title: string;
  kinds: Kind[];
  days: DayRow[];
  /** Where the lines are, how high a value is, how it is written. */
  values: number[];
  y: (value: number) => number;
  label: (value: number) => string;
  /** The bars of one day, whose place begins at x and is `slot` wide. */
  children: (row: DayRow, x: number, slot: number) => ReactNode;
}

function Plot({ title, kinds, days, values, y, label, children }: PlotProps) {
  const slot = (WIDTH - LEFT - RIGHT) / days.length;
  const each = Math.ceil(days.length / 8);
  const date = new Intl.DateTimeFormat(i18next.language, { day: "numeric", month: "numeric", timeZone: "UTC" });
  return (
    <figure>
      <figcaption>
        <h2>{title}</h2>
      </figcaption>
      <ul className="legend">
        {kinds.map((kind) => (
          <li key={kind.name}>
            <svg viewBox="0 0 10 10" aria-hidden="true">
              <rect className={kind.name} width="10" height="10" rx="2" />
            </svg>
            {kind.label}
          </li>
        ))}
      </ul>
      <div className="plot" tabIndex={0} role="group" aria-label={title}>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={title}>
          {values.map((value) => (
            <g key={value}>
              <line className="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(value)} y2={y(value)} />
              <text x={LEFT - 6} y={y(value) + 4} textAnchor="end">
                {label(value)}
              </text>
            </g>
          ))}
          {days.map((row, index) => (
            <g key={row.day}>
              {children(row, LEFT + index * slot, slot)}
              {(days.length - 1 - index) % each === 0 && (
                <text x={LEFT + (index + 0.5) * slot} y={HEIGHT - 6} textAnchor="middle">
                  {date.format(new Date(row.day))}
                </text>
              )}
            </g>
          ))}
        </svg>
      </div>
    </figure>
  );
}

interface BarProps {
  name: string;
  x: number;
  width: number;
  top: number;
  bottom: number;
  hint: string;
}

function Bar({ name, x, width, top, bottom, hint }: BarProps) {
  if (bottom - top <= 0) return null;
  return (
    <rect className={name} x={x} y={top} width={width} height={bottom - top}>
      <title>{hint}</title>
    </rect>
  );
}
