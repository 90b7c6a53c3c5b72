// Where a question is written: its text, its files, and how it is to be answered. Enter sends, Shift and Enter break
// the line; while a reply comes in, the button stops it.

import { type ClipboardEvent, type FormEvent, type KeyboardEvent, type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { Icon } from "../thread/Icon";
import type { Thread } from "../thread/thread";
import type { Attachment } from "../types";
import { type Draft, type Drafting, useDraft } from "./draft";
import { Files } from "./Files";
import type { Answering } from "./settings";
import { ModelPicker, SearchSwitch, ThinkSwitch } from "./Switches";
import { ACCEPTED } from "./upload";
import "./composer.css";

interface Props {
  thread: Thread;
  drafting: Drafting;
  busy: boolean;
  answering: Answering;
  onAsk: (content: string, attachments: Attachment[]) => Promise<void>;
}

export function Composer({ thread, drafting, busy, answering, onAsk }: Props) {
  const { t } = useTranslation();
  const { here } = answering;
  const draft = useDraft(drafting);
  const input = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const [tooMany, setTooMany] = useState(false);
  const isOver = useDrop((files) => setTooMany(!drafting.add(files)));
  useGrowing(input, draft.text);
  useEffect(() => {
    // On a phone the keyboard would cover half of the page.
    if (matchMedia("(hover: hover)").matches) input.current?.focus();
  }, [drafting]);

  // The server makes text of files.
  const noFiles = here && draft.files.length > 0;
  const isReady = isWhole(draft) && draft.text.trim() !== "" && !busy && !noFiles;

  async function send() {
    if (!isReady) return;
    const taken = drafting.take();
    try {
      await onAsk(taken.text, taken.files.flatMap((file) => file.attachment ?? []));
    } catch (error) {
      drafting.put(taken);
      thread.say(error);
    }
  }

  function onSubmit(event: FormEvent) {
    event.preventDefault();
    void send();
  }

  function onKeyDown(event: KeyboardEvent) {
    // 229: a key that belongs to an input method, in browsers that say so late.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    void send();
  }

  function onPaste(event: ClipboardEvent) {
    const files = [...event.clipboardData.files];
    if (files.length === 0) return;
    event.preventDefault();
    setTooMany(!drafting.add(files));
  }

  return (
    <form className={isOver ? "composer over" : "composer"} onSubmit={onSubmit}>
      <Files drafting={drafting} files={draft.files} />
      {tooMany && (
        <p className="problem" role="alert">
          {t("composer.too_many")}
        </p>
      )}
      {noFiles && (
        <p className="problem" role="alert">
          {t("device.noFiles")}
        </p>
      )}
      <textarea
        ref={input}
        rows={1}
        value={draft.text}
        placeholder={t("composer.placeholder")}
        aria-label={t("composer.placeholder")}
        enterKeyHint="send"
        onChange={(event) => drafting.write(event.target.value)}
        onKeyDown={onKeyDown}
        onPaste={onPaste}
      />
      <div className="row">
        <div className="switches">
          <ThinkSwitch model={answering.model} />
          <SearchSwitch answering={answering} />
          <ModelPicker thread={thread} answering={answering} />
        </div>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          accept={ACCEPTED}
          onChange={(event) => {
            setTooMany(!drafting.add([...(event.target.files ?? [])]));
            event.target.value = "";
          }}
        />
        <button
          type="button"
          className="quiet attach"
          disabled={here}
          onClick={() => picker.current!.click()}
          aria-label={t("composer.attach")}
          title={t(here ? "device.noFiles" : "composer.attach")}
        >
          <Icon name="attach" />
        </button>
        {busy ? (
          <button
            type="button"
            className="send"
            onClick={() => void thread.stop().catch((error: unknown) => thread.say(error))}
            aria-label={t("composer.stop")}
            title={t("composer.stop")}
          >
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" className="send" disabled={!isReady} aria-label={t("composer.send")} title={t("composer.send")}>
            <Icon name="send" />
          </button>
        )}
      </div>
      {isOver && <p className="drop">{t("composer.drop")}</p>}
    </form>
  );
}

/** Whether every file is there; one that failed has to be taken away first. */
function isWhole({ files }: Draft): boolean {
  return files.every((file) => file.attachment !== null);
}

/** The field is as high as its text, where the browser does not do that by itself (composer.css). */
function useGrowing(input: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    if (CSS.supports("field-sizing", "content")) return;
    const { style, scrollHeight } = reset(input.current!);
    style.height = `${scrollHeight}px`;
  }, [input, text]);
}

function reset(element: HTMLElement): HTMLElement {
  element.style.height = "auto";
  return element;
}

/** Files can be dropped anywhere on the page. Returns whether some are held over it. */
function useDrop(onFiles: (files: File[]) => void): boolean {
  const [over, setOver] = useState(false);
  const latest = useRef(onFiles);
  latest.current = onFiles;
  useEffect(() => {
    const ending = new AbortController();
    const options = { signal: ending.signal };
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true;
    addEventListener(
      "dragover",
      (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        setOver(true);
      },
      options,
    );
    addEventListener("dragleave", (event) => event.relatedTarget === null && setOver(false), options);
    addEventListener(
      "drop",
      (event) => {
        setOver(false);
        if (!hasFiles(event)) return;
        event.preventDefault();
        latest.current([...event.dataTransfer!.files]);
      },
      options,
    );
    return () => ending.abort();
  }, []);
  return over;
}
