// The page that the server brings along: one conversation, kept in this tab only.
//
// Whatever a model or a person writes enters the page as text nodes, never as HTML. Thoughts are shown and then
// forgotten: the history that is sent holds questions and answers. Not covered: several conversations, Markdown.

import { fetchWithKey } from "./key.js";

const TEXTS = {
  en: {
    usage: "Usage",
    newChat: "New chat",
    welcome: "Ask, and watch it think",
    hint: "A small model that runs on this machine. It calculates, counts, spells and sorts, and it makes mistakes.",
    conversation: "Conversation",
    question: "Your question",
    placeholder: "Ask something",
    thinkFirst: "Think first",
    stop: "Stop",
    send: "Send",
    retry: "Try again",
    thinking: (s) => `Thinking … ${s} s`,
    thought: (s) => `Thought for ${s} s`,
    brokenThought: (s) => `Thought for ${s} s, then stopped`,
    stopped: "Stopped.",
    cut: "Cut off here: the answer reached its limit.",
    empty: "No answer came. Try again, or ask in other words.",
    lost: "The connection was lost. Is the server still running?",
    refused: (why) => `The server did not accept this: ${why}`,
    full: "This conversation no longer fits into the model's memory. Begin a new chat.",
    tooLong: "This question is too long for the model. Shorten it.",
    busy: "The server is busy. Try again in a moment.",
    failed: (why) => `The answer broke off: ${why}`,
    answering: "Thinking",
    done: "The answer is complete.",
    examples: ["What is 17 times 23?", "Spell this word backward: stream", "Sort: 9, -3, 27, 4"],
  },
  de: {
    usage: "Verbrauch",
    newChat: "Neuer Chat",
    welcome: "Frag, und sieh beim Denken zu",
    hint: "Ein kleines Modell, das auf diesem Rechner läuft. Es rechnet, zählt, buchstabiert und sortiert, und es macht Fehler.",
    conversation: "Gespräch",
    question: "Deine Frage",
    placeholder: "Frag etwas",
    thinkFirst: "Erst nachdenken",
    stop: "Stopp",
    send: "Senden",
    retry: "Noch einmal",
    thinking: (s) => `Denkt nach … ${s} s`,
    thought: (s) => `Nachgedacht für ${s} s`,
    brokenThought: (s) => `Nachgedacht für ${s} s, dann angehalten`,
    stopped: "Angehalten.",
    cut: "Hier abgeschnitten: Die Antwort hat ihre Grenze erreicht.",
    empty: "Es kam keine Antwort. Versuche es noch einmal oder frag mit anderen Worten.",
    lost: "Die Verbindung ist abgebrochen. Läuft der Server noch?",
    refused: (why) => `Der Server hat das nicht angenommen: ${why}`,
    full: "Dieses Gespräch passt nicht mehr ins Gedächtnis des Modells. Beginne einen neuen Chat.",
    tooLong: "Diese Frage ist zu lang für das Modell. Kürze sie.",
    busy: "Der Server ist ausgelastet. Versuche es gleich noch einmal.",
    failed: (why) => `Die Antwort ist abgebrochen: ${why}`,
    answering: "Denkt nach",
    done: "Die Antwort ist fertig.",
    examples: ["Was ist 17 mal 23?", "Schreibe Stern rückwärts.", "Sortiere: 9, -3, 27, 4"],
  },
};

const language = (navigator.language || "en").toLowerCase().startsWith("de") ? "de" : "en";
const say = TEXTS[language];
const at = (id) => document.getElementById(id);
const [log, question, form, send, stop] = ["log", "question", "composer", "send", "stop"].map(at);

let history = []; // {role, content}, as the API takes it
let running = null; // the AbortController of the answer that is being made

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function button(text, onClick) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

/** Keeps the end in view while something grows, unless the reader has scrolled up. */
function following(change) {
  const page = document.documentElement;
  const atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  change();
  if (atEnd) page.scrollTop = page.scrollHeight;
}

/** Text that grows once a frame, however fast it arrives, so that a long answer never freezes the page. */
class Words {
  constructor(parent) {
    this.box = element("div", "words");
    this.node = document.createTextNode("");
    this.box.append(this.node);
    parent.append(this.box);
    this.all = "";
    this.waiting = "";
  }

  add(text) {
    // What stands before the first word is the format's, not the model's.
    if (!this.all) text = text.trimStart();
    if (!text) return;
    this.all += text;
    if (!this.waiting) requestAnimationFrame(() => this.flush());
    this.waiting += text;
  }

  flush() {
    if (!this.waiting) return;
    following(() => this.node.appendData(this.waiting));
    this.waiting = "";
  }

  finish() {
    this.flush();
    this.node.data = this.all = this.all.trimEnd();
  }
}

/** One answer on the page: the panel of its thought with running seconds, its words, a note where one is due. */
class Turn {
  constructor() {
    this.box = element("article", "turn");
    this.panel = element("details", "thought running");
    this.summary = element("summary", "", say.thinking(0));
    this.panel.append(this.summary);
    this.panel.open = true;
    this.summary.addEventListener("click", () => (this.chosen = true)); // then folding is the reader's business
    this.thought = new Words(this.panel);
    this.box.append(this.panel);
    this.answer = new Words(this.box);
    this.began = performance.now();
    this.clock = setInterval(() => (this.summary.textContent = say.thinking(this.seconds())), 250);
    following(() => log.append(this.box));
  }

  seconds() {
    return Math.floor((performance.now() - this.began) / 1000);
  }

  /** The thought is over: fold it, or take the panel away where there was none. */
  closeThought(label) {
    if (this.clock === null) return;
    clearInterval(this.clock);
    this.clock = null;
    this.thought.finish();
    this.panel.classList.remove("running");
    this.summary.textContent = label(Math.max(this.seconds(), 1));
    if (!this.thought.all) this.panel.remove();
    else if (!this.chosen) following(() => (this.panel.open = false));
  }

  take(delta) {
    if (delta.reasoning_content) this.thought.add(delta.reasoning_content);
    if (delta.content) {
      this.closeThought(say.thought);
      this.answer.add(delta.content);
    }
  }

  end() {
    this.closeThought(this.answer.all ? say.thought : say.brokenThought);
    this.answer.finish();
  }

  note(text, wrong, action) {
    const line = element("p", wrong ? "note wrong" : "note", text);
    if (action) line.append(button(say.retry, action));
    following(() => this.box.append(line));
  }
}

/** The server said no, or broke off; `final` where asking the same once more would end alike. */
class ServerError extends Error {
  constructor(message, final = false) {
    super(message);
    this.final = final;
  }
}

/** The records of a stream of server-sent events; comments and blank lines are passed over. */
async function* records(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      const data = line.slice(6);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Not from this server; the status says what there is to say.
  }
  if (error.code === "context_length_exceeded") return new ServerError(history.length > 1 ? say.full : say.tooLong, true);
  if (response.status === 503) return new ServerError(say.busy);
  return new ServerError(say.refused(error.message ?? response.status));
}

/** Sends the history and shows the answer; returns why it ended. */
async function converse(turn, signal) {
  const response = await fetchWithKey("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      messages: history,
      stream: true,
      thinking: { type: at("thinking").checked ? "enabled" : "disabled" },
    }),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  let reason = null;
  for await (const record of records(response.body)) {
    if (record.error) throw new ServerError(say.failed(record.error.message));
    const choice = record.choices[0];
    if (!choice) continue;
    turn.take(choice.delta);
    reason = choice.finish_reason ?? reason;
  }
  if (reason === null) throw new TypeError("The stream ended early.");
  return reason;
}

async function answer() {
  const turn = new Turn();
  const mine = new AbortController();
  running = mine;
  setRunning(true);
  const again = () => {
    if (running) return;
    turn.box.remove();
    if (history.at(-1)?.role === "assistant") history.pop();
    answer();
  };
  let keep = true;
  try {
    const reason = await converse(turn, mine.signal);
    turn.end();
    if (reason === "length") turn.note(say.cut);
    else if (!turn.answer.all) turn.note(say.empty, true, again);
    keep = Boolean(turn.answer.all);
  } catch (error) {
    turn.end();
    keep = mine.signal.aborted && Boolean(turn.answer.all);
    if (mine.signal.aborted) turn.note(say.stopped, false, again);
    else turn.note(error instanceof ServerError ? error.message : say.lost, true, error.final ? null : again);
    if (error.final && !question.value) {
      question.value = history.at(-1).content; // to be shortened, or asked in a new chat
      fitHeight();
    }
  }
  if (running !== mine) return; // a new chat has begun meanwhile
  running = null;
  setRunning(false);
  if (keep) history.push({ role: "assistant", content: turn.answer.all });
}

function setRunning(is) {
  stop.hidden = !is;
  send.hidden = is;
  log.setAttribute("aria-busy", String(is));
  at("status").textContent = is ? say.answering : say.done;
  if (!is && matchMedia("(hover: hover)").matches) question.focus();
}

function ask(text) {
  if (running || !text.trim()) return;
  // A question that never got its answer is asked no more.
  if (history.at(-1)?.role === "user") history.pop();
  history.push({ role: "user", content: text });
  at("welcome").hidden = true;
  for (const old of log.querySelectorAll(".note button")) old.remove();
  const mine = element("article", "turn mine");
  mine.append(element("div", "words", text));
  log.append(mine);
  document.documentElement.scrollTop = document.documentElement.scrollHeight;
  answer();
}

function newChat() {
  const old = running;
  running = null;
  old?.abort();
  history = [];
  log.replaceChildren();
  at("welcome").hidden = false;
  setRunning(false);
  at("status").textContent = "";
  question.focus();
}

function fitHeight() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
}

document.documentElement.lang = language;
for (const node of document.querySelectorAll("[data-text]")) node.textContent = say[node.dataset.text];
for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say[node.dataset.label]);
question.placeholder = say[question.dataset.placeholder];
for (const example of say.examples) {
  const item = document.createElement("li");
  item.append(button(example, () => ask(example)));
  at("examples").append(item);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running || !question.value.trim()) return;
  const text = question.value;
  question.value = "";
  fitHeight();
  ask(text);
});
question.addEventListener("input", fitHeight);
question.addEventListener("keydown", (event) => {
  // Enter that ends the composition of a character (Japanese, accents) is not meant for us.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
stop.addEventListener("click", () => running?.abort());
at("new").addEventListener("click", newChat);

try {
  at("model").textContent = (await (await fetchWithKey("/v1/models")).json()).data[0].id;
} catch {
  // The name is an ornament; asking will say that the server is gone.
}
