// What the Markdown of models means here, beyond CommonMark and GFM: raw HTML is text, a line break breaks the line,
// `<br>` is one, and the marks of citations become elements.

import type { Break, Parent, PhrasingContent, Root, Text } from "mdast";
import type { Processor } from "unified";

import { CITE_BEGIN, CITE_END } from "./inline";

const DISABLED = [
  "htmlFlow",
  "htmlText",
  "definition",
  "setextUnderline",
  "mathFlow",
  "gfmFootnoteDefinition",
  "gfmFootnoteCall",
  "gfmPotentialFootnoteCall",
];
const PIECE = new RegExp(`${CITE_BEGIN}(\\d+)${CITE_END}|\\n|<br\\s*/?>`, "g");

/** A remark plugin. */
export function ofModels(this: Processor): (tree: Root) => void {
  const data = this.data() as { micromarkExtensions?: unknown[] };
  data.micromarkExtensions ??= [];
  data.micromarkExtensions.push({ disable: { null: DISABLED } });
  return split;
}

function split(parent: Parent): void {
  for (let at = parent.children.length - 1; at >= 0; at -= 1) {
    const child = parent.children[at]!;
    if (child.type === "text") parent.children.splice(at, 1, ...pieces(child));
    else if ("children" in child) split(child);
  }
}

function pieces({ value }: Text): PhrasingContent[] {
  const found: PhrasingContent[] = [];
  let at = 0;
  for (const match of value.matchAll(PIECE)) {
    if (match.index > at) found.push({ type: "text", value: value.slice(at, match.index) });
    found.push(match[1] ? citation(Number(match[1])) : lineBreak());
    at = match.index + match[0].length;
  }
  if (at < value.length) found.push({ type: "text", value: value.slice(at) });
  return found;
}

function lineBreak(): Break {
  return { type: "break" };
}

/** An element `cite` with the number, for the components that show it. */
function citation(number: number): PhrasingContent {
  const data = { hName: "cite", hProperties: { number } };
  return { type: "text", value: "", data } as PhrasingContent;
}
