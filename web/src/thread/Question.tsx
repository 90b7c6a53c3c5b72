// What the person asked: as it was typed, with its files; it can be changed, which begins another branch.

import { type KeyboardEvent, type ReactNode, memo, useId, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { CopyButton } from "../markdown/CopyButton";
import type { Message } from "../types";
import { Icon } from "./Icon";

/** What is longer is shown folded. */
const LONG_LETTERS = 3000;

interface Props {
  message: Message;
  /** Asks the changed question; null where nothing can be asked. */
  onEdit?: ((text: string) => void) | null;
  children?: ReactNode;
}

export const Question = memo(function Question({ message, onEdit = null, children }: Props) {
  const { t } = useTranslation();
  const [editing, setEditing] = useState(false);
  const name = useId();
  const edit = useRef<HTMLButtonElement>(null);

  function close() {
    setEditing(false);
    requestAnimationFrame(() => edit.current?.focus());
  }

  if (editing && onEdit) return <Edit message={message} onSend={onEdit} onClose={close} />;
  return (
    <article className="question" aria-labelledby={name}>
      <h2 id={name} className="unseen">{t("thread.question")}</h2>
      {message.attachments.length > 0 && (
        <ul className="files" aria-label={t("thread.files")}>
          {message.attachments.map(({ id, name }) => (
            <li key={id}>
              <Icon name="file" />
              <span>{name}</span>
            </li>
          ))}
        </ul>
      )}
      {message.content && <Text text={message.content} />}
      <footer className="tools">
        {children}
        <CopyButton bare text={() => message.content} label={t("thread.copy_question")} />
        {onEdit && (
          <button ref={edit} type="button" className="quiet" onClick={() => setEditing(true)} aria-label={t("thread.edit")} title={t("thread.edit")}>
            <Icon name="edit" />
          </button>
        )}
      </footer>
    </article>
  );
});

function Text({ text }: { text: string }) {
  const { t } = useTranslation();
  const [whole, setWhole] = useState(text.length <= LONG_LETTERS);
  return (
    <div className="said">
      <p>{whole ? text : `${text.slice(0, LONG_LETTERS)} …`}</p>
      {text.length > LONG_LETTERS && (
        <button type="button" className="small" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {t(whole ? "thread.less" : "thread.more")}
        </button>
      )}
    </div>
  );
}

function Edit({ message, onSend, onClose }: { message: Message; onSend: (text: string) => void; onClose: () => void }) {
  const { t } = useTranslation();
  const [text, setText] = useState(message.content);
  const canSend = text.trim() !== "" && text !== message.content;

  function send() {
    if (!canSend) return;
    onSend(text);
    onClose();
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      onClose();
    } else if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send();
    }
  }

  return (
    <form
      className="edit"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        autoFocus
        aria-label={t("thread.edit")}
        value={text}
        rows={Math.min(12, text.split("\n").length + 1)}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div>
        <button type="button" className="small" onClick={onClose}>
          {t("thread.cancel")}
        </button>
        <button type="submit" className="small strong" disabled={!canSend}>
          {t("thread.send_edited")}
        </button>
      </div>
    </form>
  );
}
