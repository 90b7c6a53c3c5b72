// What the model says, sorted as it comes: thought or answer, told apart by ids and not by letters, as the server does
// it (src/denken/chat/parser.py). A test holds both to the same words.
//
// Not covered: calls of tools, which nobody offers here; their words are text of the answer.

import { END_SEARCH, END_THINK, SEARCH, THINK } from "./template";

export interface Piece {
  kind: "think" | "answer";
  text: string;
}

export class Sorter {
  inThought: boolean;
  private readonly decoder = new TextDecoder();
  private readonly names: ReadonlyMap<number, string>;
  private pieces: Piece[] = [];
  /** Line breaks at the very start, which a tag would take with it; null once there was more. */
  private start: string | null = "";
  /** Line breaks that are still to be dropped behind a tag. */
  private skip = 0;
  /** A thought's last line break, which goes with the tag that ends it. */
  private lineBreak = false;
  /** Whether anything but line breaks was said in this thought or answer. */
  private spoke = false;
  /** The words of a search that is being written; nobody looks them up here, so that they stay text. */
  private search: string | null = null;

  constructor(controls: Readonly<Record<string, number>>, thinking: boolean) {
    this.inThought = thinking;
    this.names = new Map(Object.entries(controls).map(([name, id]) => [id, name]));
  }

  /** bytes: what the id stands for. */
  push(id: number, bytes: Uint8Array): void {
    const name = this.names.get(id);
    if (name === undefined) return this.say(this.decoder.decode(bytes, { stream: true }));
    this.say(this.decoder.decode());
    if (name === THINK) this.openThought();
    else if (name === END_THINK) this.closeThought();
    else if (name === SEARCH && this.inThought && this.search === null) this.beginSearch();
    else if (name === END_SEARCH && this.search !== null) this.endSearch();
  }

  finish(): void {
    this.say(this.decoder.decode());
    this.abandonSearch();
    this.release();
    if (this.lineBreak) this.emit("think", "\n");
    this.lineBreak = false;
  }

  /** What became certain since the last time. */
  take(): Piece[] {
    const { pieces } = this;
    this.pieces = [];
    return pieces;
  }

  private openThought(): void {
    if (this.search !== null || (this.inThought && this.spoke)) return;
    this.inThought = true;
    this.start = null;
    this.skip = 1;
    this.lineBreak = this.spoke = false;
  }

  private closeThought(): void {
    if (!this.inThought) {
      if (!this.spoke) [this.start, this.skip] = [null, 2];
      return;
    }
    this.abandonSearch();
    this.release();
    this.inThought = this.lineBreak = this.spoke = false;
    this.skip = 2;
  }

  private beginSearch(): void {
    this.release();
    if (this.lineBreak) this.emit("think", "\n");
    this.lineBreak = false;
    this.search = "";
    this.spoke = true;
  }

  private endSearch(): void {
    const words = this.search!.trim();
    this.search = null;
    this.emit("think", SEARCH + words + END_SEARCH);
  }

  /** A search that ends unfinished is what it reads: text. */
  private abandonSearch(): void {
    const words = this.search;
    this.search = null;
    if (words) this.say(words);
  }

  private release(): void {
    const { start } = this;
    this.start = null;
    if (start) this.say(start);
  }

  private say(given: string): void {
    let text = given;
    if (!text) return;
    if (this.search !== null) {
      this.search += text;
      return;
    }
    if (this.start !== null) {
      this.start += text;
      if (this.start.length <= 2 && !/[^\n]/.test(this.start)) return;
      [text, this.start] = [this.start, null];
    }
    this.spoke ||= /[^\n]/.test(text);
    for (; this.skip > 0 && text.startsWith("\n"); this.skip -= 1) text = text.slice(1);
    if (text) this.skip = 0;
    if (!this.inThought) return this.emit("answer", text);
    if (this.lineBreak) text = `\n${text}`;
    this.lineBreak = text.endsWith("\n");
    this.emit("think", this.lineBreak ? text.slice(0, -1) : text);
  }

  private emit(kind: Piece["kind"], text: string): void {
    if (!text) return;
    const last = this.pieces.at(-1);
    if (last?.kind === kind) last.text += text;
    else this.pieces.push({ kind, text });
  }
}
