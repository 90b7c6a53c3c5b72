// Colours for code: highlight.js's grammars of the common languages, loaded with the first block that wants them.

import type { Root, RootContent } from "hast";
import type { createLowlight } from "lowlight";
import { Fragment, type ReactNode, createElement } from "react";

type Lowlight = ReturnType<typeof createLowlight>;

let loading: Promise<Lowlight> | null = null;

export async function highlighter(): Promise<Lowlight> {
  loading ??= import("lowlight").then(({ common, createLowlight }) => createLowlight(common));
  try {
    return await loading;
  } catch (error) {
    loading = null;
    throw error;
  }
}

/** null where the language is not known. */
export function highlight(lowlight: Lowlight, language: string, text: string): ReactNode {
  return lowlight.registered(language) ? nodes(lowlight.highlight(language, text)) : null;
}

function nodes(tree: Root): ReactNode {
  return createElement(Fragment, null, ...tree.children.map(node));
}

function node(found: RootContent): ReactNode {
  if (found.type === "text") return found.value;
  if (found.type !== "element") return null;
  const className = (found.properties.className as string[]).join(" ");
  return createElement("span", { className }, ...found.children.map(node));
}
