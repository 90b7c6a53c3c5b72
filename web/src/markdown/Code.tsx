import { type ReactNode, memo, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { CopyButton } from "./CopyButton";
import { highlight, highlighter } from "./highlight";

/** Longer code stays in one colour: colouring it would hold up the page. */
const MOST_LETTERS = 10_000;
/** While code is being written it is coloured so often, up to its last whole line. */
const AGAIN_MS = 300;

interface Coloured {
  letters: number;
  nodes: ReactNode;
}

export const Code = memo(function Code({ language, text, open }: { language: string; text: string; open: boolean }) {
  const { t } = useTranslation();
  const coloured = useColours(language.toLowerCase(), text, open);
  const name = language || t("thread.code");
  return (
    <figure className="code">
      <figcaption>
        <span>{name}</span>
        <CopyButton text={() => text} label={t("thread.copy_code", { language: name })} />
      </figcaption>
      <pre tabIndex={0}>
        <code>
          {coloured?.nodes}
          {text.slice(coloured?.letters ?? 0)}
        </code>
      </pre>
    </figure>
  );
});

function useColours(language: string, text: string, open: boolean): Coloured | null {
  const [coloured, setColoured] = useState<Coloured | null>(null);
  const latest = useRef(text);
  latest.current = text;
  const wanted = language !== "" && text.length <= MOST_LETTERS;
  useEffect(() => {
    if (!wanted) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    async function colour() {
      const lowlight = await highlighter().catch(() => null);
      if (over || lowlight === null) return;
      const end = open ? latest.current.lastIndexOf("\n") + 1 : latest.current.length;
      const nodes = highlight(lowlight, language, latest.current.slice(0, end));
      setColoured(nodes === null ? null : { letters: end, nodes });
      if (open && nodes !== null) timer = setTimeout(colour, AGAIN_MS);
    }
    void colour();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [language, wanted, open]);
  const isStale = coloured !== null && (coloured.letters > text.length || !wanted);
  return isStale ? null : coloured;
}
