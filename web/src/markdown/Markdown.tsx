// A model's text, while it arrives and after: settled blocks are rendered once, and of a long text the browser skips
// whole groups while they are out of sight.

import { memo, useRef } from "react";

import { type Block, Blocks, type Group } from "./blocks";
import { Code } from "./Code";
import { Formula } from "./Formula";
import { Prose } from "./Prose";
import { useTurn } from "./turns";
import "./markdown.css";

/** Groups of a text that is always laid out as a whole. */
const SHORT = 12;

/** live: more may come. */
export function Markdown({ text, live = false }: { text: string; live?: boolean }) {
  const blocks = useRef<Blocks>(null);
  blocks.current ??= new Blocks();
  const groups = blocks.current.read(text, !live);
  return (
    <div className={groups.length > SHORT ? "prose long" : "prose"}>
      {groups.map((group, number) => (
        // Blocks are only ever added, so a place is a name.
        <GroupView key={number} group={group} />
      ))}
    </div>
  );
}

const GroupView = memo(
  function GroupView({ group }: { group: Group }) {
    const ref = useRef<HTMLDivElement>(null);
    const isTurn = useTurn(ref);
    return (
      <div ref={ref} className="group">
        {isTurn ? group.map((block, number) => <BlockView key={number} block={block} />) : <Plain group={group} />}
      </div>
    );
  },
  (before, after) => before.group.length === after.group.length && before.group.every((block, at) => isSame(block, after.group[at]!)),
);

const BlockView = memo(
  function BlockView({ block }: { block: Block }) {
    if (block.kind === "code") return <Code language={block.language} text={block.text} open={block.open} />;
    if (block.kind === "math") return <Formula source={block.text} open={block.open} display />;
    return <Prose text={block.text} open={block.open} />;
  },
  (before, after) => isSame(before.block, after.block),
);

function isSame(one: Block, other: Block): boolean {
  if (one === other) return true;
  if (one.kind !== other.kind || one.open !== other.open || one.text !== other.text) return false;
  return one.kind !== "code" || other.kind !== "code" || one.language === other.language;
}

/** How a group looks until it is its turn. */
function Plain({ group }: { group: Group }) {
  return <p className="plain">{group.map((block) => block.text).join("\n\n")}</p>;
}
