// The shown branch of a conversation, one message below the other. Each listens for itself, so a reply that streams
// renders alone.

import { type RefObject, useCallback, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";

import { asTurn, useAnswering, useSettings } from "../composer/settings";
import type { Message } from "../types";
import { Answer } from "./Answer";
import { Icon } from "./Icon";
import { Question } from "./Question";
import { type Thread, isSketch } from "./thread";
import { among } from "./tree";

interface Props {
  thread: Thread;
  path: readonly string[];
  busy: boolean;
  pageFollows: RefObject<boolean>;
}

export function Messages({ thread, path, busy, pageFollows }: Props) {
  return path.map((id) => <One key={id} thread={thread} id={id} busy={busy} pageFollows={pageFollows} />);
}

function One({ thread, id, busy, pageFollows }: Omit<Props, "path"> & { id: string }) {
  const message = useSyncExternalStore(thread.subscribe, () => thread.messages.get(id));
  const settings = useSettings();
  const answering = useAnswering(thread);
  const parent = message?.parent ?? null;
  const attachments = message?.attachments;

  const onAgain = useCallback(() => {
    thread.again(id, asTurn(settings, answering)).catch((error: unknown) => thread.say(error));
  }, [thread, id, settings, answering]);

  const onEdit = useCallback(
    (content: string) => {
      const kept = attachments ?? [];
      const turn = { ...asTurn(settings, answering), parent, content, attachments: kept.map((file) => file.id) };
      thread.ask(turn, kept).catch((error: unknown) => thread.say(error));
    },
    [thread, parent, attachments, settings, answering],
  );

  if (!message) return null;
  const canAsk = !busy && !isSketch(id);
  const branches = <Branches thread={thread} message={message} busy={busy} />;
  if (message.role === "user") {
    return (
      <Question message={message} onEdit={canAsk ? onEdit : null}>
        {branches}
      </Question>
    );
  }
  return (
    <Answer message={message} pageFollows={pageFollows} onAgain={canAsk ? onAgain : null}>
      {branches}
    </Answer>
  );
}

/** The arrows between a message and those that stand in its place on other branches. */
function Branches({ thread, message, busy }: { thread: Thread; message: Message; busy: boolean }) {
  const { t } = useTranslation();
  const { at, all } = among(thread.messages, message);
  if (all.length < 2) return null;
  const to = (step: number) => {
    const sibling = all[at + step];
    if (sibling) thread.show(sibling);
  };
  return (
    <span className="branches" role="group" aria-label={t("thread.branches")}>
      <button type="button" className="quiet" disabled={at === 0 || busy} onClick={() => to(-1)} aria-label={t("thread.branch_before")}>
        <Icon name="left" />
      </button>
      <span>{t("thread.branch", { at: at + 1, all: all.length })}</span>
      <button type="button" className="quiet" disabled={at === all.length - 1 || busy} onClick={() => to(1)} aria-label={t("thread.branch_after")}>
        <Icon name="right" />
      </button>
    </span>
  );
}
