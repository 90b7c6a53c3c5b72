// A snippet whose hits stand between U+E000 and U+E001, as the server marks them: no letters of any text.

import { Fragment } from "react";

/** parts("a \uE000b\uE001 c") is [["a ", false], ["b", true], [" c", false]] */
export function parts(text: string): [string, boolean][] {
  return text
    .split(/\uE000([^\uE001]*)\uE001?/u)
    .map((part, index): [string, boolean] => [part.replaceAll("\uE001", ""), index % 2 === 1])
    .filter(([part]) => part !== "");
}

export function Marked({ text }: { text: string }) {
  return parts(text).map(([part, hit], index) =>
    hit ? <mark key={index}>{part}</mark> : <Fragment key={index}>{part}</Fragment>,
  );
}
