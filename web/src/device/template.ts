// A conversation as ids, as the server renders it (src/denken/chat/template.py): content and control tokens are encoded
// apart, so that nothing that is typed becomes a control id. A test holds both to the same ids.

/** encode: the ids of content. controls: the ids of control tokens by name. */
export interface Vocabulary {
  controls: Readonly<Record<string, number>>;
  encode: (text: string) => number[];
}

/** A question that was answered. */
export interface Exchange {
  question: string;
  answer: string;
}

export const BOS = "<｜begin▁of▁sentence｜>";
export const EOS = "<｜end▁of▁sentence｜>";
export const USER = "<｜User｜>";
export const ASSISTANT = "<｜Assistant｜>";
export const THINK = "<think>";
export const END_THINK = "</think>";
export const SEARCH = "<search>";
export const END_SEARCH = "</search>";

/** The ids up to where the model is to go on: within its thought, or behind an empty one. */
export function render(history: readonly Exchange[], question: string, vocabulary: Vocabulary, thinking = true): number[] {
  const control = (name: string) => vocabulary.controls[name]!;
  const text = (words: string) => plain(words, vocabulary);
  const ids = [control(BOS)];
  for (const { question: asked, answer } of history) {
    ids.push(control(USER), ...text(asked), control(ASSISTANT), ...text(answer), control(EOS));
  }
  ids.push(control(USER), ...text(question), control(ASSISTANT), control(THINK));
  if (thinking) ids.push(...text("\n"));
  else ids.push(...text("\n\n"), control(END_THINK), ...text("\n\n"));
  return ids;
}

/** What ends a thought that has gone as far as it may. */
export function endOfThinking(vocabulary: Vocabulary): number[] {
  return [...plain("\n", vocabulary), vocabulary.controls[END_THINK]!, ...plain("\n\n", vocabulary)];
}

/** The ids of content, none of them a control id, also where a vocabulary finds control tokens in any text. */
export function plain(text: string, { controls, encode }: Vocabulary): number[] {
  if (text === "") return [];
  const ids = encode(text);
  const known = new Set(Object.values(controls));
  if (!ids.some((id) => known.has(id))) return ids;
  const names = Object.keys(controls).map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  // Cut behind its first letter, a name is two texts of which neither is one.
  const cut = text.replace(new RegExp(names.join("|"), "g"), (name) => `${name[0]}\0${name.slice(1)}`);
  return cut.split("\0").flatMap((piece) => (piece ? encode(piece) : [])).filter((id) => !known.has(id));
}
