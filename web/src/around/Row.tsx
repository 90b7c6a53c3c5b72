// One conversation of the list: a link, its menu, and its name as a field while it is being changed.

import i18next from "i18next";
import { type FocusEvent, type KeyboardEvent, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "wouter";
import { navigate } from "wouter/use-browser-location";

import { exportAs as exportHere, handOver, rename as renameHere } from "../device/lines";
import { isHere } from "../device/store";
import { useReached } from "../offline/reach";
import { useServerState } from "../state";
import type { ConversationLine } from "../types";
import { exportAs, pin, rename } from "./conversations";
import { deleteWithUndo } from "./deleting";
import { MoreIcon, PinIcon } from "./icons";
import { Marked } from "./Marked";
import { type Item, Menu } from "./Menu";
import { problemOf } from "../problem";
import { open } from "./shown";
import { notify } from "./toasts";

const complain = (error: unknown) => notify(problemOf(error));

export function Row({ line, current }: { line: ConversationLine; current: boolean }) {
  const { t } = useTranslation();
  const { state } = useServerState();
  const [renaming, setRenaming] = useState(false);
  const row = useRef<HTMLLIElement>(null);
  const title = line.title || t("around.untitled");

  const focusLink = () => requestAnimationFrame(() => row.current?.querySelector("a")?.focus());
  const removed = () => {
    const other = row.current?.nextElementSibling ?? row.current?.previousElementSibling;
    (other?.querySelector("a") ?? document.getElementById("search"))?.focus();
    void deleteWithUndo({ id: line.id, title });
  };
  const reached = useReached();
  const here = isHere(line.id);
  const itemsHere = (): Item[] => [
    { label: t("around.rename"), run: () => setRenaming(true) },
    ...(reached ? [{ label: t("device.handOver"), run: () => void handedOver(line.id, title).catch(complain) }] : []),
    { label: t("around.exportMarkdown"), run: () => void exportHere(line.id, "markdown").catch(complain) },
    { label: t("around.exportJson"), run: () => void exportHere(line.id, "json").catch(complain) },
    { label: t("around.delete"), run: removed, danger: true },
  ];
  const items = (): Item[] => [
    { label: t("around.rename"), run: () => setRenaming(true) },
    { label: line.pinned ? t("around.unpin") : t("around.pin"), run: () => void pin(line, !line.pinned).catch(complain) },
    ...(state?.sharing ? [{ label: t("around.share"), run: () => open({ name: "share", id: line.id }) }] : []),
    { label: t("around.exportMarkdown"), run: () => void exportAs(line, "markdown").catch(complain) },
    { label: t("around.exportJson"), run: () => void exportAs(line, "json").catch(complain) },
    { label: t("around.delete"), run: removed, danger: true },
  ];
  const named = (name: string | null) => {
    setRenaming(false);
    focusLink();
    if (name && name !== line.title) void (here ? renameHere(line.id, name) : rename(line, name)).catch(complain);
  };

  return (
    <li ref={row} className="row" data-current={current || undefined}>
      {renaming ? (
        <Name title={line.title} done={named} />
      ) : (
        <Link href={`/c/${line.id}`} aria-current={current ? "page" : undefined} title={title}>
          <span className="row-title">
            {title}
            {line.running && <span className="dot" role="img" aria-label={t("around.running")} />}
          </span>
          {line.snippet && (
            <span className="row-snippet">
              <Marked text={line.snippet} />
            </span>
          )}
        </Link>
      )}
      {line.pinned && !renaming && <PinIcon />}
      {!renaming && (
        <Menu label={t("around.menuOf", { title })} items={here ? itemsHere : items}>
          <MoreIcon />
        </Menu>
      )}
    </li>
  );
}

/** The server has it then, under an address of its own. */
async function handedOver(id: string, title: string): Promise<void> {
  await handOver(id);
  if (location.pathname === `/c/${id}`) navigate("/");
  notify(i18next.t("device.handedOver", { title }));
}

/** Enter and leaving the field keep the name, Esc does not. `done` is called once. */
function Name({ title, done }: { title: string; done: (name: string | null) => void }) {
  const { t } = useTranslation();
  const over = useRef(false);
  const end = (name: string | null) => {
    if (!over.current) done(name);
    over.current = true;
  };
  const pressed = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === "Enter" && !event.nativeEvent.isComposing) end(event.currentTarget.value.trim());
    if (event.key !== "Escape") return;
    event.preventDefault(); // which would close the drawer around it
    end(null);
  };
  return (
    <input
      className="row-name"
      aria-label={t("around.name")}
      defaultValue={title}
      maxLength={200}
      autoFocus
      onFocus={(event: FocusEvent<HTMLInputElement>) => event.currentTarget.select()}
      onBlur={(event) => end(event.currentTarget.value.trim())}
      onKeyDown={pressed}
    />
  );
}
