// Markdown that is still arriving, cut into blocks: those that are settled never change again, the last one still grows.
//
// Each line is looked at once, so a long text costs what it is long. This knows just enough of CommonMark to see where
// a block ends; what is inside one is the parser's affair. Fences and display formulas are blocks of their own kinds and
// need no parser. What would grow without end (a list, a table, a paragraph of thousands of letters) is cut where it
// does not show: before an item, before a row with the head repeated, behind a sentence.
//
// Where it departs from CommonMark: a line of `---` is a rule even under a paragraph, for models mean it so; there are
// no headings by underlining, no lazy lines of quotations, and nothing reaches over blocks (reference links, footnotes).

import { isClosed } from "./inline";

/** A stretch that stands for itself. open: more of it may come. */
export type Block =
  | { kind: "prose"; text: string; open: boolean }
  | { kind: "code"; language: string; text: string; open: boolean }
  | { kind: "math"; text: string; open: boolean };

/** Blocks that are rendered and skipped together; one that is full stays the same array for ever. */
export type Group = readonly Block[];

const GROUP_LETTERS = 800;
const LIST_LETTERS = 1500;
const LINES_LETTERS = 2000;
const TABLE_LETTERS = 3000;
const LINE_LETTERS = 3000;
const MATH_LETTERS = 4000;

const FENCE = /^( {0,3})(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}#{1,6}([ \t]|$)/;
const RULE = /^ {0,3}([-*_])[ \t]*(\1[ \t]*){2,}$/;
const ITEM = /^( {0,3})([-*](?=[ \t]|$)|\d{1,3}[.)](?=[ \t]+\S))/;
const QUOTE = /^ {0,3}>/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MATH = /^ {0,3}(\$\$|\\\[|\\begin\{((?:equation|align|gather|multline|alignat|flalign)\*?)\})/;
const INSIDE_FENCE = /^[ \t>]*(`{3,}|~{3,})/;
const INDENTED = /^( {2,}|\t)/;
const STOP = /^[ \t]*([.,;:!?]?)[ \t]*$/;
/** A line of which nobody can say yet what it will be; shown only when it goes on. */
const UNCLEAR = /^[ \t]*(`{1,2}|~{1,2}|#{1,6}|[-=*_+>]{1,2}|\$|\\|\\b[a-z]*|\\begin\{[a-z]*\*?|\d{1,3}[.)]?[ \t]*|\|[^|]*)$/;

type Open =
  | { kind: "paragraph" | "table" | "quote" }
  | { kind: "list"; ordered: boolean; blank: boolean; fence: string | null }
  | { kind: "code"; indent: number; fence: string; language: string; body: number }
  | { kind: "math"; closer: string; body: number };

export class Blocks {
  private text = "";
  private full: Group[] = [];
  private filling: Block[] = [];
  private letters = 0;
  private open: Open | null = null;
  /** Where the open block begins, and where the first line begins that was not looked at. */
  private start = 0;
  private next = 0;
  /** The head of a table that was cut, until it ends. */
  private head = "";

  /** The text so far; ended: nothing more will come. One that does not go on from the last is read from its start. */
  read(text: string, ended: boolean): readonly Group[] {
    if (!text.startsWith(this.text)) this.restart();
    this.text = text;
    for (let end = text.indexOf("\n", this.next); end >= 0; end = text.indexOf("\n", this.next)) {
      const from = this.next;
      this.next = end + 1;
      this.line(text.slice(from, end), from);
      this.cutLine(this.next);
    }
    this.cutLine(text.length);
    const last = [...this.filling, ...this.tail(ended)];
    return last.length ? [...this.full, last] : [...this.full];
  }

  private restart(): void {
    this.full = [];
    this.filling = [];
    this.letters = this.start = this.next = 0;
    this.open = null;
    this.head = "";
  }

  /** Takes in a whole line, which begins at `from` and ends before `next`. */
  private line(line: string, from: number): void {
    const open = this.open;
    if (open?.kind === "code") return this.codeLine(open, line, from);
    if (open?.kind === "math") return this.mathLine(open, line, from);
    if (open && this.goesOn(open, line, from)) return;
    if (open) this.settle(from);
    if (line.trim()) this.begin(line, from);
    else this.start = this.next;
  }

  private begin(line: string, from: number): void {
    this.start = from;
    const fence = FENCE.exec(line);
    const math = openMath(line, from);
    const item = ITEM.exec(line);
    if (fence) {
      const language = fence[3]!.trim().split(/\s/, 1)[0]!;
      this.open = { kind: "code", indent: fence[1]!.length, fence: fence[2]!, language, body: this.next };
    } else if (math && this.beginsMath(math, line, from)) {
      return;
    } else if (HEADING.test(line) || RULE.test(line)) {
      this.settle(this.next);
    } else if (item) {
      this.open = { kind: "list", ordered: isNumber(item), blank: false, fence: fenceInside(line) };
    } else {
      this.open = { kind: QUOTE.test(line) ? "quote" : "paragraph" };
    }
  }

  /** False where the formula ends within its line and the line goes on: then it is one in a paragraph. */
  private beginsMath(math: Open & { kind: "math" }, line: string, from: number): boolean {
    const found = line.indexOf(math.closer, Math.max(math.body - from, 2));
    if (found >= 0 && !STOP.test(line.slice(found + math.closer.length))) return false;
    this.open = math;
    if (found >= 0) this.closeMath(math, from + found, from + line.length);
    return true;
  }

  private codeLine(open: Open & { kind: "code" }, line: string, from: number): void {
    const fence = FENCE.exec(line);
    if (fence && !fence[3]!.trim() && fence[2]!.startsWith(open.fence)) this.settleAs(this.codeBlock(open, from), this.next);
  }

  private mathLine(open: Open & { kind: "math" }, line: string, from: number): void {
    const found = line.indexOf(open.closer);
    if (found >= 0) return this.closeMath(open, from + found, from + line.length);
    // What goes on for so long is no formula; it is shown as it was written.
    if (this.next - open.body > MATH_LETTERS) this.settleAs(mathBlock(this.text.slice(open.body, this.next)), this.next);
  }

  /** The formula ends at `at`. What stands behind it on its line begins a block, unless it is but a full stop. */
  private closeMath(open: Open & { kind: "math" }, at: number, lineEnd: number): void {
    const behind = at + open.closer.length;
    const rest = this.text.slice(behind, lineEnd);
    const stop = STOP.exec(rest);
    const formula = this.text.slice(open.body, open.closer.startsWith("\\end") ? behind : at);
    this.settleAs(mathBlock(formula.trim() + (stop?.[1] ?? "")), stop ? this.next : behind);
    if (!stop) this.begin(rest, behind);
  }

  /** Whether the line belongs to the open block. */
  private goesOn(open: Open, line: string, from: number): boolean {
    if (open.kind === "list") return this.listGoesOn(open, line, from);
    if (!line.trim()) return false;
    if (open.kind === "quote") return QUOTE.test(line) && !this.isOver(LINES_LETTERS, from);
    if (open.kind === "paragraph" && DELIMITERS.test(line) && isOneRow(this.text.slice(this.start, from))) {
      this.open = { kind: "table" };
      return true;
    }
    if (interrupts(line)) return false;
    if (open.kind === "table") {
      if (this.isOver(TABLE_LETTERS, from)) this.cutTable(from);
      return true;
    }
    return !(this.isOver(LINES_LETTERS, from) && isClosed(this.text.slice(this.start, from)));
  }

  private listGoesOn(open: Open & { kind: "list" }, line: string, from: number): boolean {
    const item = RULE.test(line) ? null : ITEM.exec(line);
    const indented = INDENTED.test(line);
    if (open.fence !== null && (indented || !line.trim())) {
      if (line.trim() === open.fence) open.fence = null;
      return true;
    }
    if (!line.trim()) return (open.blank = true);
    const afterBlank = open.blank;
    open.blank = false;
    open.fence = fenceInside(line);
    if (item && !item[1]) return isNumber(item) === open.ordered && !this.isOver(LIST_LETTERS, from);
    if (item || indented) return true;
    return !afterBlank && !interrupts(line);
  }

  private isOver(letters: number, from: number): boolean {
    return from - this.start > letters;
  }

  /** The rows so far are one table, and those to come are another with the same head. */
  private cutTable(from: number): void {
    const rows = this.text.slice(this.start, from);
    this.push({ kind: "prose", text: this.head + rows, open: false });
    this.head ||= rows.split("\n", 2).join("\n") + "\n";
    this.start = from;
  }

  /** A line that goes on and on, so far until `until`, is cut behind a sentence, or at least behind a word. */
  private cutLine(until: number): void {
    if (this.open !== null && this.open.kind !== "paragraph") return;
    while (until - this.start > LINE_LETTERS) {
      if (this.open === null && interrupts(this.text.slice(this.next, this.next + 200))) return;
      const end = this.start + sentenceEnd(this.text.slice(this.start, this.start + LINE_LETTERS));
      this.push({ kind: "prose", text: this.text.slice(this.start, end), open: false });
      this.start = end;
      this.next = Math.max(this.next, end);
      this.open = { kind: "paragraph" };
    }
  }

  /** The open block reaches to `end` and is over. */
  private settle(end: number): void {
    const text = this.text.slice(this.start, end);
    if (text.trim()) this.push({ kind: "prose", text: this.head + text, open: false });
    this.head = "";
    this.open = null;
    this.start = end;
  }

  private settleAs(block: Block, end: number): void {
    this.push(block);
    this.open = null;
    this.start = end;
  }

  private push(block: Block): void {
    this.filling.push(block);
    this.letters += block.text.length;
    if (this.letters < GROUP_LETTERS) return;
    this.full.push(this.filling);
    this.filling = [];
    this.letters = 0;
  }

  /** How it would look if the line that is being written ended here: the open block, and one that the line begins. */
  private tail(ended: boolean): Block[] {
    const ahead = new Blocks();
    const line = this.text.slice(this.next);
    ahead.text = line ? this.text + "\n" : this.text;
    ahead.open = this.open && { ...this.open };
    ahead.start = this.start;
    ahead.head = this.head;
    ahead.next = this.next;
    if (line.trim() && (ended || !UNCLEAR.test(line) || this.isInCode(line))) {
      ahead.next = ahead.text.length;
      ahead.line(line, this.next);
    }
    const blocks = [...ahead.full.flat(), ...ahead.filling, ...ahead.growing()];
    const last = blocks.at(-1);
    if (last && ahead.start >= this.next && last.kind === "prose") blocks[blocks.length - 1] = { ...last, open: true };
    return ended ? blocks.map((block) => ({ ...block, open: false })) : blocks;
  }

  private isInCode(line: string): boolean {
    return this.open?.kind === "code" && !/^ {0,3}(`{1,2}|~{1,2})$/.test(line);
  }

  private growing(): Block[] {
    const open = this.open;
    if (open?.kind === "code") return [{ ...this.codeBlock(open, this.next), open: true }];
    if (open?.kind === "math") return [{ ...mathBlock(this.text.slice(open.body, this.next)), open: true }];
    const text = this.text.slice(this.start, this.next);
    return text.trim() ? [{ kind: "prose", text: this.head + text, open: true }] : [];
  }

  private codeBlock(open: Open & { kind: "code" }, end: number): Block {
    const text = this.text.slice(open.body, end).replace(/\n$/, "");
    const bare = open.indent ? text.replace(new RegExp(`^ {1,${open.indent}}`, "gm"), "") : text;
    return { kind: "code", language: open.language, text: bare, open: false };
  }
}

function mathBlock(text: string): Block {
  return { kind: "math", text: text.trim(), open: false };
}

/** What begins a block even right under a paragraph. */
function interrupts(line: string): boolean {
  const isRest = FENCE.test(line) || HEADING.test(line) || QUOTE.test(line) || ITEM.test(line) || RULE.test(line);
  return isRest || MATH.test(line);
}

function openMath(line: string, from: number): (Open & { kind: "math" }) | null {
  const math = MATH.exec(line);
  if (!math) return null;
  const [all, opener, environment] = math as unknown as [string, string, string | undefined];
  if (environment) return { kind: "math", closer: `\\end{${environment}}`, body: from + all.length - opener.length };
  return { kind: "math", closer: opener === "$$" ? "$$" : "\\]", body: from + all.length };
}

function fenceInside(line: string): string | null {
  return INSIDE_FENCE.exec(line.replace(ITEM, " "))?.[1] ?? null;
}

function isNumber(item: RegExpExecArray): boolean {
  return /\d/.test(item[2]!);
}

function isOneRow(text: string): boolean {
  const row = text.trimEnd();
  return row.includes("|") && !row.includes("\n");
}

/** Behind the last sentence of `text`, else behind its last word, where no emphasis or formula is open. */
function sentenceEnd(text: string): number {
  for (const pattern of [/[.!?。！？]["')\]]*\s/g, /\s/g]) {
    const ends = [...text.matchAll(pattern)].map((match) => match.index + match[0].length);
    const good = ends.slice(-8).findLast((end) => isClosed(text.slice(0, end)));
    if (good) return good;
  }
  return text.length;
}
