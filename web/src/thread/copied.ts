import { safeAddress } from "../markdown/Link";
import type { Message } from "../types";

/** A reply as it is put on the clipboard: Markdown with [1] for citations, and the sources that it cites at its end. */
export function asCopied({ content, sources }: Pick<Message, "content" | "sources">): string {
  const cited = new Set<number>();
  const text = content.replace(/[ \t]*\[citation:\s*(\d+)\s*\]/g, (_, digits: string) => {
    const number = Number(digits);
    if (!sources.some((source) => source.number === number)) return "";
    cited.add(number);
    return ` [${number}]`;
  });
  const lines = sources
    .filter((source) => cited.has(source.number))
    .map(({ number, title, url }) => `[${number}] ${title}${safeAddress(url) ? ` ${url}` : ""}`);
  return lines.length > 0 ? `${text}\n\n${lines.join("\n")}` : text;
}
