// What stands within a block, made ready for the Markdown parser: formulas in one notation that the parser keeps its
// hands off, citations as marks, and in a block that is still being written, what is half there finished or held back.
//
// Code is left as it is. A dollar sign begins a formula only as Pandoc has it (nothing blank behind it, and at its end
// nothing blank before and no digit behind), so that prices stay prices; stars between numbers or letters multiply, a
// plus sign at the beginning of a line adds, and a number alone on its line is no item of a list.

/** Around the number of a citation; before the source of a display formula. A model's own such letters are taken out. */
export const CITE_BEGIN = "\uE010";
export const CITE_END = "\uE011";
export const DISPLAY = "\uE012";

const MARKS = /[\uE010-\uE012]/g;
const CITATION = /\[citation:\s*(\d{1,4}(?:\s*,\s*(?:citation:\s*)?\d{1,4})*)\s*\]/y;
const NEW_BLOCK = /^[ \t]*($|[-*+] |\d{1,3}[.)] |#|>|\|)/;
const NESTED_FENCE = /^[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)*(`{3,}|~{3,})/;
/** What CommonMark takes for an item and a model does not mean as one: "391." and "+ 340". */
const NO_ITEM = /^([ \t]*\d+)([.)])(?=[ \t]*$)|^([ \t]*)(\+)(?= )/;
const HELD_LETTERS = 400;

/** The block's text as the parser gets it; open: it is still being written, and must look right as it is. */
export function prepare(text: string, open: boolean): string {
  const scan = new Scan(text.replace(MARKS, "\uFFFD"), open);
  scan.run();
  return open ? scan.finished() : scan.out;
}

/** Whether no code, formula or emphasis is open at the end of the text, so that it can be cut there. */
export function isClosed(text: string): boolean {
  const scan = new Scan(text, true);
  scan.run();
  return !scan.held && !scan.code && scan.emphasis.length === 0;
}

class Scan {
  out = "";
  /** The openers of emphasis that wait for their end, e.g. ["**", "_"]. */
  emphasis: string[] = [];
  /** The backticks of a code span without an end. */
  code = "";
  /** A formula or a citation that is half there begins here, and nothing from there on is shown. */
  held = false;
  private at = 0;
  private readonly isTable: boolean;

  constructor(
    private readonly text: string,
    private readonly open: boolean,
  ) {
    this.isTable = /^[ \t]*\|/m.test(text);
  }

  run(): void {
    this.lineBegins();
    while (this.at < this.text.length && !this.held && !this.code) this.step();
  }

  /** The output with an end to what has none yet. */
  finished(): string {
    let out = this.out;
    if (this.code) return out + (out.endsWith(this.code) ? "" : this.code);
    out = out.replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1").replace(/(^|[^\\])[*_~`]+$/, "$1");
    if (this.isTable) out = withoutHalfTable(out);
    return out.trimEnd() + this.emphasis.reverse().join("");
  }

  private step(): void {
    const { text, at } = this;
    switch (text[at]) {
      case "\n":
        this.take(1);
        return this.lineBegins();
      case "\\":
        return this.backslash();
      case "`":
        return this.backticks();
      case "$":
        return this.dollar();
      case "[":
        return this.bracket();
      case "*":
      case "_":
      case "~":
        return this.emphasize();
      default: {
        const next = /[\n\\`$[*_~]/g;
        next.lastIndex = at + 1;
        this.take((next.exec(text)?.index ?? text.length) - at);
      }
    }
  }

  private take(count: number): void {
    this.out += this.text.slice(this.at, this.at + count);
    this.at += count;
  }

  private hold(): void {
    this.held = true;
  }

  /** Emphasis does not reach into a new block; a fence within a list is taken as it is. */
  private lineBegins(): void {
    const end = this.text.indexOf("\n", this.at);
    const line = this.text.slice(this.at, end < 0 ? undefined : end);
    if (NEW_BLOCK.test(line)) this.emphasis = [];
    const literal = NO_ITEM.exec(line);
    if (literal) {
      this.out += `${literal[1] ?? literal[3]}\\${literal[2] ?? literal[4]}`;
      this.at += literal[0].length;
      return;
    }
    const fence = NESTED_FENCE.exec(line);
    if (!fence || (fence[1]![0] === "`" && line.slice(fence[0].length).includes("`"))) return;
    const closing = new RegExp(`\\n[ \\t>]*${fence[1]}[ \\t]*(?=\\n|$)`, "g");
    closing.lastIndex = this.at + line.length;
    const closed = closing.exec(this.text);
    this.take((closed ? closed.index + closed[0].length : this.text.length) - this.at);
  }

  private backslash(): void {
    const next = this.text[this.at + 1];
    if (next === "(") return this.formula("\\(", "\\)", false);
    if (next === "[") return this.formula("\\[", "\\]", true);
    if (next === undefined && this.open) return this.hold();
    this.take(2);
  }

  private backticks(): void {
    const run = /`+/y;
    run.lastIndex = this.at;
    const ticks = run.exec(this.text)![0];
    const end = new RegExp(`(?<!\`)${ticks}(?!\`)`, "g");
    end.lastIndex = this.at + ticks.length;
    const found = end.exec(this.text);
    if (found) return this.take(found.index + ticks.length - this.at);
    if (!this.open || this.text.indexOf("\n\n", this.at) >= 0) return this.take(ticks.length);
    if (this.at + ticks.length >= this.text.length) return this.hold();
    this.code = ticks;
    this.take(this.text.length - this.at);
    this.out = this.out.replace(/`+$/, "");
  }

  private dollar(): void {
    const { text, at } = this;
    if (text[at + 1] === "$") return this.formula("$$", "$$", true);
    const behind = text[at + 1];
    if (behind === undefined && this.open) return this.hold();
    if (behind !== undefined && !/\s/.test(behind)) {
      const end = dollarEnd(text, at + 1);
      if (end > 0) return this.math(at + 1, end, 1, false);
      if (this.open && end === 0 && this.canHold(at) && !/\d/.test(behind)) return this.hold();
    }
    this.out += "\\$";
    this.at += 1;
  }

  private formula(opener: string, closer: string, display: boolean): void {
    const begin = this.at + opener.length;
    const end = this.text.indexOf(closer, begin);
    const blank = this.text.slice(begin, end < 0 ? undefined : end).search(/\n[ \t]*\n/);
    if (end > begin && blank < 0) return this.math(begin, end, closer.length, display);
    if (this.open && end < 0 && blank < 0 && this.canHold(this.at)) return this.hold();
    this.out += opener === "$$" ? "\\$\\$" : `\\${opener}`;
    this.at = begin;
  }

  private canHold(from: number): boolean {
    return this.text.length - from < HELD_LETTERS;
  }

  private math(begin: number, end: number, closer: number, display: boolean): void {
    let source = this.text.slice(begin, end).replace(/\s*\n[ \t>]*/g, " ").trim();
    if (this.isTable) source = source.replace(/(?<!\\)\|/g, "\\vert ");
    this.out += source.includes("$$") ? this.text.slice(this.at, end + closer) : `$$${display ? DISPLAY : ""}${source}$$`;
    this.at = end + closer;
  }

  private bracket(): void {
    CITATION.lastIndex = this.at;
    const citation = CITATION.exec(this.text);
    if (citation) {
      this.out = this.out.replace(/[ \t]+$/, "");
      for (const number of citation[1]!.match(/\d+/g)!) this.out += CITE_BEGIN + Number(number) + CITE_END;
      this.at += citation[0].length;
      return;
    }
    if (this.open && isHalfCitation(this.text.slice(this.at))) return this.hold();
    this.take(1);
  }

  private emphasize(): void {
    const { text, at } = this;
    const letter = text[at]!;
    let end = at;
    while (text[end] === letter) end += 1;
    const before = text[at - 1] ?? " ";
    const after = text[end] ?? " ";
    let count = end - at;
    const isWord = letter === "_" && /\w/.test(before) && /\w/.test(after);
    if (!isWord && !/\s/.test(before)) {
      while (count > 0 && this.emphasis.at(-1)?.[0] === letter && this.emphasis.at(-1)!.length <= count) {
        count -= this.emphasis.pop()!.length;
      }
    }
    if (letter === "*" && count === end - at && /[\w)\]]/.test(before) && /[\w([]/.test(after)) {
      this.out += "\\*".repeat(count);
      this.at = end;
      return;
    }
    const opens = !isWord && !/\s/.test(after) && !(letter === "_" && /\w/.test(before));
    if (opens && count > 0 && count <= 3 && (letter !== "~" || count === 2)) {
      if (count >= 2) this.emphasis.push(letter.repeat(2));
      if (count !== 2) this.emphasis.push(letter);
    }
    this.take(end - at);
  }
}

/** Where the formula that begins at `begin` ends; 0 where it may yet end, -1 where it cannot. */
function dollarEnd(text: string, begin: number): number {
  const ends = /\\.|\$|\n[ \t]*\n/gs;
  ends.lastIndex = begin;
  for (let found = ends.exec(text); found; found = ends.exec(text)) {
    if (found[0][0] === "\\") continue;
    if (found[0] !== "$") return -1;
    const at = found.index;
    const isEnd = at > begin && !/\s/.test(text[at - 1]!) && !/\d/.test(text[at + 1] ?? "") && text[at + 1] !== "$";
    return isEnd ? at : -1;
  }
  return 0;
}

function isHalfCitation(rest: string): boolean {
  return "[citation:".startsWith(rest) || /^\[citation:[\d\s,]*(c[a-z:]*)?[\d\s]*$/.test(rest);
}

/** A table shows once its delimiter row is whole, for before it is but a row of strokes. */
function withoutHalfTable(text: string): string {
  const lines = text.trimEnd().split("\n");
  const first = lines.findIndex((line) => /^[ \t]*\|/.test(line));
  if (first < 0 || lines.length - first > 2) return text;
  const isWhole = lines.length - first === 2 && /^[ \t]*\|?[ \t:|-]+\|[ \t]*$/.test(lines[first + 1]!) && columns(lines[first + 1]!) >= columns(lines[first]!);
  return isWhole ? text : lines.slice(0, first).join("\n");
}

function columns(row: string): number {
  return row.trim().replace(/^\||\|$/g, "").split("|").length;
}
