"use strict";
// Everything that a model wrote becomes text and never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
};
at("note").textContent = data.note;
for (const line of data.summary) at("summary").append(make("li", line));

let order = { column: -1, down: true };
const value = (cell) => {
  const number = Number.parseFloat(cell);
  return Number.isNaN(number) ? cell : number;
};
function draw() {
  const word = at("filter").value.trim().toLowerCase();
  const rows = data.rows.map((cells, number) => ({ cells, number })).filter(({ cells }) => cells[0].toLowerCase().includes(word));
  if (order.column >= 0) {
    rows.sort((a, b) => {
      const [x, y] = [value(a.cells[order.column]), value(b.cells[order.column])];
      const way = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return order.down ? -way : way;
    });
  }
  at("rows").replaceChildren(...rows.map(({ cells, number }) => {
    const row = make("tr", undefined, ["yes", "no"].includes(cells.at(-1)) ? cells.at(-1) : "");
    cells.forEach((cell, column) => {
      const place = make("td");
      if (column === 0) {
        const button = make("button", cell);
        button.type = "button";
        button.addEventListener("click", () => show(number));
        place.append(button);
      } else place.textContent = cell;
      row.append(place);
    });
    return row;
  }));
}
data.header.forEach((name, column) => {
  const button = make("button", name);
  button.type = "button";
  button.addEventListener("click", () => {
    order = { column, down: order.column === column ? !order.down : column > 0 };
    draw();
  });
  const head = make("th");
  head.scope = "col";
  head.append(button);
  at("head").append(head);
});
at("filter").addEventListener("input", draw);

for (const { title, said, header, rows } of data.sections) {
  const [note, ...lines] = said;
  const list = make("ul");
  list.append(...lines.map((line) => make("li", line)));
  const table = make("table");
  const line = (cells, kind) => {
    const row = make("tr");
    row.append(...cells.map((cell) => make(kind, cell)));
    return row;
  };
  table.append(line(header, "th"), ...rows.map((cells) => line(cells, "td")));
  at("sections").append(make("h2", title), make("p", note), list, table);
}

function show(number) {
  const { task, answers, left } = data.answers[number];
  const parts = [make("h2", task)];
  if (left) parts.push(make("p", `${left} more answers are in the transcript beside this page.`));
  for (const one of answers) {
    const part = make("article", undefined, one.right ? "right" : "wrong");
    part.append(make("h3", `seed ${one.seed}, sample ${one.sample}: ${one.tokens} ids${one.cut ? ", cut off" : ""}`));
    part.append(make("pre", one.prompt));
    const thought = make("details");
    thought.append(make("summary", "Thought"), make("pre", one.thought, "thought"));
    part.append(thought, make("pre", one.answer || "(no answer)"), make("p", `Expected: ${one.expected}`));
    parts.push(part);
  }
  at("answers").replaceChildren(...parts);
  at("answers").scrollIntoView({ behavior: "smooth" });
}
draw();
