// What was used and what it cost: two plots drawn here as SVG, and a table, from GET /v1/usage.
//
// Colours and sizes are classes and attributes; the page policy allows no styles of its own. Text enters as text nodes.

import { fetchWithKey } from "./key.js";

const TEXTS = {
  en: {
    usage: "Usage",
    period: "Period",
    days7: "7 days",
    days30: "30 days",
    days90: "90 days",
    days365: "365 days",
    tokens: "Tokens a day",
    money: "US dollars a day, each line ten times the one below",
    rows: "Rows",
    day: "Day",
    model: "Model",
    key: "Key",
    explained:
      "Cost is the share of this machine's time. Beside it stands what the same tokens would have cost at the list " +
      "prices of DeepSeek-R1 and of OpenAI's o1. Days are in UTC.",
    requests: "Requests",
    prompt: "Prompt",
    cached: "from the cache",
    thought: "Thought",
    answer: "Answer",
    seconds: "Seconds",
    here: "Here",
    r1: "R1's list price",
    o1: "o1's list price",
    empty: "Nothing was asked in this time.",
    lost: "The connection was lost. Is the server still running?",
    refused: (why) => `The server did not accept this: ${why}`,
  },
  de: {
    usage: "Verbrauch",
    period: "Zeitraum",
    days7: "7 Tage",
    days30: "30 Tage",
    days90: "90 Tage",
    days365: "365 Tage",
    tokens: "Token am Tag",
    money: "US-Dollar am Tag, jede Linie das Zehnfache der darunter",
    rows: "Zeilen",
    day: "Tag",
    model: "Modell",
    key: "Schlüssel",
    explained:
      "Kosten sind der Anteil an der Zeit dieses Rechners. Daneben steht, was dieselben Token nach den Listenpreisen " +
      "von DeepSeek-R1 und OpenAIs o1 gekostet hätten. Tage sind in UTC.",
    requests: "Anfragen",
    prompt: "Eingabe",
    cached: "aus dem Cache",
    thought: "Gedanken",
    answer: "Antwort",
    seconds: "Sekunden",
    here: "Hier",
    r1: "Listenpreis von R1",
    o1: "Listenpreis von o1",
    empty: "In dieser Zeit wurde nichts gefragt.",
    lost: "Die Verbindung ist abgebrochen. Läuft der Server noch?",
    refused: (why) => `Der Server hat das nicht angenommen: ${why}`,
  },
};

const language = (navigator.language || "en").toLowerCase().startsWith("de") ? "de" : "en";
const say = TEXTS[language];
const at = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });

// Width and height of a plot, and the room around it for its labels.
const [WIDTH, HEIGHT, LEFT, RIGHT, BELOW, TOP] = [720, 220, 64, 12, 22, 8];
const TOKENS = [
  ["prompt", (row) => row.prompt_tokens - row.cached_tokens],
  ["cached", (row) => row.cached_tokens],
  ["thought", (row) => row.thought_tokens],
  ["answer", (row) => row.answer_tokens],
];
const MONEY = [
  ["here", (row) => Number(row.cost_usd)],
  ["r1", (row) => Number(row.r1_usd)],
  ["o1", (row) => Number(row.o1_usd)],
];
const COLUMNS = [
  ["requests", (row) => whole.format(row.requests)],
  ["here", (row) => `$ ${dollars.format(row.cost_usd)}`],
  ["r1", (row) => `$ ${dollars.format(row.r1_usd)}`],
  ["o1", (row) => `$ ${dollars.format(row.o1_usd)}`],
  ["prompt", (row) => whole.format(row.prompt_tokens)],
  ["cached", (row) => whole.format(row.cached_tokens)],
  ["thought", (row) => whole.format(row.thought_tokens)],
  ["answer", (row) => whole.format(row.answer_tokens)],
  ["seconds", (row) => whole.format(row.seconds)],
];

function element(tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Every day of the period, those too of which there is no line. */
function everyDay(reported) {
  const byDay = new Map(reported.data.map((row) => [row.day, row]));
  const nothing = Object.fromEntries(Object.keys(reported.totals).map((name) => [name, 0]));
  const today = Date.now();
  return Array.from({ length: reported.days }, (_, index) => {
    const day = new Date(today - (reported.days - 1 - index) * 86_400_000).toISOString().slice(0, 10);
    return byDay.get(day) ?? { ...nothing, day };
  });
}

/** A frame with lines at the given values; `y` places a value, `label` writes it. */
function frame(title, days, values, y, label) {
  const plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const value of values) {
    plot.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, label(value)),
    );
  }
  const step = Math.ceil(days.length / 8);
  const slot = (WIDTH - LEFT - RIGHT) / days.length;
  for (let index = days.length - 1; index >= 0; index -= step) {
    const x = LEFT + (index + 0.5) * slot;
    plot.append(svg("text", { x, y: HEIGHT - 6, "text-anchor": "middle" }, days[index].day.slice(5)));
  }
  return plot;
}

function bar(name, x, width, top, bottom, hint) {
  const height = Math.max(0, bottom - top);
  return svg("rect", { class: name, x, y: top, width, height }, svg("title", {}, hint));
}

/** The kinds of tokens on top of one another. */
function tokensPlot(days) {
  const most = Math.max(1, ...days.map((row) => TOKENS.reduce((sum, [, of]) => sum + of(row), 0)));
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.25, 0.5, 1, 2.5].map((part) => part * power).find((part) => most / part <= 5) ?? power;
  const values = Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
  const floor = HEIGHT - BELOW;
  const y = (value) => floor - ((floor - TOP) * value) / values.at(-1);
  const plot = frame(say.tokens, days, values, y, (value) => short.format(value));
  const slot = (WIDTH - LEFT - RIGHT) / days.length;
  days.forEach((row, index) => {
    let below = 0;
    for (const [name, of] of TOKENS) {
      const hint = `${row.day}, ${say[name]}: ${whole.format(of(row))}`;
      if (of(row)) plot.append(bar(name, LEFT + (index + 0.15) * slot, slot * 0.7, y(below + of(row)), y(below), hint));
      below += of(row);
    }
  });
  return plot;
}

/** The three prices side by side; they are powers of ten apart, and so are the lines. */
function moneyPlot(days) {
  const amounts = days.flatMap((row) => MONEY.map(([, of]) => of(row))).filter((amount) => amount > 0);
  const first = amounts.length ? Math.floor(Math.log10(Math.min(...amounts))) : -3;
  const last = amounts.length ? Math.max(first + 1, Math.ceil(Math.log10(Math.max(...amounts)))) : 0;
  const values = Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
  const floor = HEIGHT - BELOW;
  const y = (value) => floor - ((floor - TOP) * (Math.log10(value) - first)) / (last - first);
  const plot = frame(say.money, days, values, y, (value) => `$ ${dollars.format(value)}`);
  const slot = (WIDTH - LEFT - RIGHT) / days.length;
  days.forEach((row, index) => {
    MONEY.forEach(([name, of], place) => {
      if (!of(row)) return;
      const hint = `${row.day}, ${say[name]}: $ ${dollars.format(of(row))}`;
      // A bar at the very bottom would not be seen.
      const top = Math.min(y(of(row)), floor - 2);
      plot.append(bar(name, LEFT + (index + 0.15 + place * 0.24) * slot, slot * 0.22, top, floor, hint));
    });
  });
  return plot;
}

function showLegend(id, series) {
  at(id).replaceChildren(
    ...series.map(([name]) => {
      const item = element("li");
      const colour = svg("rect", { class: name, width: 10, height: 10 });
      item.append(svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, colour), say[name]);
      return item;
    }),
  );
}

function showTotals(totals) {
  const shown = COLUMNS.filter(([name]) => ["requests", "here", "r1", "o1"].includes(name));
  at("totals").replaceChildren(
    ...shown.map(([name, of]) => {
      const box = element("div");
      box.append(element("dt", say[name]), element("dd", of(totals)));
      return box;
    }),
  );
}

function showTable(reported) {
  const head = element("tr");
  const headings = [say[reported.by], ...COLUMNS.map(([name]) => say[name])];
  head.append(...headings.map((text) => element("th", text)));
  const rows = reported.data.map((row) => {
    const line = element("tr");
    line.append(element("td", row[reported.by]), ...COLUMNS.map(([, of]) => element("td", of(row))));
    return line;
  });
  const [thead, tbody] = [element("thead"), element("tbody")];
  thead.append(head);
  tbody.append(...rows.reverse());
  at("table").replaceChildren(thead, tbody);
}

async function report(by) {
  const response = await fetchWithKey(`/v1/usage?days=${at("days").value}&by=${by}`);
  const record = await response.json();
  if (!response.ok) throw new Error(say.refused(record.error?.message ?? response.status));
  return record;
}

async function show() {
  try {
    const daily = await report("day");
    const days = everyDay(daily);
    at("note").textContent = daily.data.length ? "" : say.empty;
    showTotals(daily.totals);
    at("tokens").replaceChildren(tokensPlot(days));
    at("money").replaceChildren(moneyPlot(days));
    showTable(at("by").value === "day" ? daily : await report(at("by").value));
  } catch (error) {
    at("note").textContent = error instanceof TypeError ? say.lost : error.message;
  }
}

document.documentElement.lang = language;
document.title = `denken: ${say.usage}`;
for (const node of document.querySelectorAll("[data-text]")) node.textContent = say[node.dataset.text];
showLegend("tokens-legend", TOKENS);
showLegend("money-legend", MONEY);
at("days").addEventListener("change", show);
at("by").addEventListener("change", show);
show();
