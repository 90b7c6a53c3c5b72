// One block of prose, through the Markdown parser. Nothing in it can load anything or leave the page unasked.

import type { Element, ElementContent } from "hast";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import remarkMath from "remark-math";
import type { PluggableList } from "unified";

import { Citation } from "../thread/Sources";
import { Code } from "./Code";
import { Formula } from "./Formula";
import { prepare } from "./inline";
import { Link } from "./Link";
import { ofModels } from "./plugin";

/** A block that is longer is shown as it was written; while it grows, sooner. */
const MOST_LETTERS = 20_000;
const MOST_OPEN_LETTERS = 6_000;

const PLUGINS: PluggableList = [
  [remarkGfm, { singleTilde: false }],
  [remarkMath, { singleDollarTextMath: false }],
  ofModels,
];

/** Its headings are all one level below the message's own, whatever it makes of them, so that none is left out. */
const COMPONENTS: Components = {
  h1: ({ children }) => <h3 className="first">{children}</h3>,
  h2: ({ children }) => <h3 className="second">{children}</h3>,
  h4: ({ children }) => <h3 className="lower">{children}</h3>,
  h5: ({ children }) => <h3 className="lower">{children}</h3>,
  h6: ({ children }) => <h3 className="lower">{children}</h3>,
  a: ({ href, node, children }) => (
    <Link href={href} text={textOf(node!)}>
      {children}
    </Link>
  ),
  img: ({ src, alt }) => <Link href={typeof src === "string" ? src : undefined} text={alt ?? ""} />,
  code: ({ node, children }) => (isFormula(node!) ? <Formula source={textOf(node!)} /> : <code>{children}</code>),
  pre: ({ node }) => <Code language={languageOf(node!)} text={textOf(node!).replace(/\n$/, "")} open={false} />,
  table: ({ children }) => (
    <div className="table" tabIndex={0}>
      <table>{children}</table>
    </div>
  ),
  input: ({ checked }) => <Task done={checked === true} />,
  cite: ({ node }) => <Citation number={Number(node!.properties.number)} />,
};

export const Prose = memo(function Prose({ text, open }: { text: string; open: boolean }) {
  if (text.length > (open ? MOST_OPEN_LETTERS : MOST_LETTERS)) return <p className="plain">{text}</p>;
  return (
    <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS} urlTransform={String}>
      {prepare(text, open)}
    </ReactMarkdown>
  );
});

/** The box of a task in a list: a sign, for nobody can tick it. */
function Task({ done }: { done: boolean }) {
  const { t } = useTranslation();
  return (
    <span role="img" className="task" aria-label={t(done ? "thread.task_done" : "thread.task_open")}>
      {done ? "☑" : "☐"}
    </span>
  );
}

/** Goes through the parser once, so that the browser has it ready before the first words come. */
export function rehearse(text: string): void {
  ReactMarkdown({ remarkPlugins: PLUGINS, components: COMPONENTS, urlTransform: String, children: prepare(text, true) });
}

function isFormula(node: Element): boolean {
  return classes(node).includes("math-inline");
}

function languageOf(pre: Element): string {
  const code = pre.children[0];
  const found = code?.type === "element" ? classes(code).find((name) => name.startsWith("language-")) : undefined;
  return found?.slice("language-".length) ?? "";
}

function classes(node: Element): string[] {
  return Array.isArray(node.properties.className) ? node.properties.className.map(String) : [];
}

function textOf(node: Element | ElementContent): string {
  if (node.type === "text") return node.value;
  return node.type === "element" ? node.children.map(textOf).join("") : "";
}
