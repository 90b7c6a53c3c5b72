// One figure of a run over its steps, drawn by uPlot on a canvas; beside it the same in words, and as a table.

import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { onScheme } from "../around/scheme";
import { measure, whole } from "./format";
import type { Points } from "./runs";

const HEIGHT = 220;
const ROWS = 12;

export interface Line {
  label: string;
  points: Points;
  /** The name of a colour of the style sheet: a canvas knows none of them. */
  colour: string;
  dots?: boolean;
}

export function Curve({ title, lines }: { title: string; lines: Line[] }) {
  const { t } = useTranslation();
  /** The step that is pointed at. */
  const [at, setAt] = useState<number | null>(null);
  const shown = lines.filter((line) => line.points.length > 0);
  if (shown.length === 0) return null;
  const said = shown.map((line) => {
    const [first, last] = [line.points[0]!, line.points.at(-1)!];
    const figures = { from: measure(first[1]), to: measure(last[1]), first: whole(first[0]), last: whole(last[0]) };
    return t("runs.curveSays", { name: line.label, ...figures });
  });
  const value = ({ points }: Line) => {
    const point = at === null ? points.at(-1) : points.find(([step]) => step === at);
    return point ? measure(point[1]) : "–";
  };
  return (
    <figure className="curve">
      <figcaption>
        <h2>{title}</h2>
      </figcaption>
      <ul className="legend">
        {shown.map((line) => (
          <li key={line.label} data-colour={line.colour}>
            {line.label} <b>{value(line)}</b>
          </li>
        ))}
        <li>{t("runs.stepAt", { step: whole(at ?? Math.max(...shown.map(({ points }) => points.at(-1)![0]))) })}</li>
      </ul>
      <div role="img" aria-label={said.join(" ")}>
        <Canvas lines={shown} point={setAt} />
      </div>
      <details>
        <summary>{t("runs.asTable")}</summary>
        <Table lines={shown} />
      </details>
    </figure>
  );
}

/** point: told the step under the pointer, or that there is none. */
function Canvas({ lines, point }: { lines: Line[]; point: (step: number | null) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const names = lines.map((line) => line.label).join("\n");
  const data = joined(lines);

  // A plot for these lines in these colours; new values go into it without a new one.
  useEffect(() => {
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(box.current!, lines, point), joined(lines), box.current!);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: box.current!.clientWidth, height: HEIGHT }));
    resized.observe(box.current!);
    const stop = onScheme(draw);
    return () => {
      stop();
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [names, point]);
  useEffect(() => plot.current?.setData(data), [JSON.stringify(data)]);
  return <div ref={box} className="canvas" />;
}

/** All steps that any line has, and the values of each at them. */
function joined(lines: Line[]): uPlot.AlignedData {
  const tables = lines.map(({ points }): uPlot.AlignedData => [points.map(([x]) => x), points.map(([, y]) => y)]);
  return tables.length === 1 ? tables[0]! : uPlot.join(tables);
}

function options(box: HTMLElement, lines: Line[], point: (step: number | null) => void): uPlot.Options {
  const [soft, grid] = [colour(box, "--soft"), colour(box, "--line")];
  const axis: uPlot.Axis = { stroke: soft, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font: "12px system-ui" };
  const values = (_: uPlot, splits: number[]) => splits.map(measure);
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    hooks: { setCursor: [({ cursor: { idx }, data: [steps] }) => point(idx == null ? null : (steps[idx] ?? null))] },
    scales: { x: { time: false } },
    axes: [
      { ...axis, values },
      { ...axis, values, size: (_, labels) => 20 + 7 * Math.max(4, ...(labels ?? []).map((label) => label.length)) },
    ],
    series: [
      {},
      ...lines.map((line): uPlot.Series => ({
        stroke: colour(box, line.colour),
        width: 2,
        spanGaps: true,
        points: { show: line.dots || line.points.length === 1 },
      })),
    ],
  };
}

/** What a colour of the style sheet is in the scheme that is shown. */
function colour(within: HTMLElement, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  within.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Some of the points, the first and the last among them. */
function Table({ lines }: { lines: Line[] }) {
  const { t } = useTranslation();
  const { points } = lines[0]!;
  const at = Array.from({ length: Math.min(ROWS, points.length) }, (_, index) =>
    Math.round((index * (points.length - 1)) / Math.max(1, Math.min(ROWS, points.length) - 1)),
  );
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">{t("runs.step")}</th>
          <th scope="col">{lines[0]!.label}</th>
        </tr>
      </thead>
      <tbody>
        {at.map((index) => (
          <tr key={index}>
            <th scope="row">{whole(points[index]![0])}</th>
            <td>{measure(points[index]![1])}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
