// What a conversation of this device is called: the beginning of its first question. The server makes better ones of
// the answer (serve/chats/titles.py); here what was asked is enough to find it again.

const LONGEST = 60;

/** At most 60 characters of one line, cut at a word where there is one. */
export function titleOf(question: string): string {
  const line = question.replace(/\s+/g, " ").trim();
  if ([...line].length <= LONGEST) return line;
  const kept = [...line].slice(0, LONGEST - 1).join("");
  const word = kept.lastIndexOf(" ");
  return `${(word > LONGEST / 2 ? kept.slice(0, word) : kept).trimEnd()}…`;
}
