// Adding to the library: files that are picked or dropped, several at a time, and a page by its address.

import { type FormEvent, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { problemOf } from "../problem";
import { addFile, addPage, KINDS, MOST_BYTES } from "./library";

interface Adding {
  id: number;
  name: string;
  /** From 0 to 1 while it is sent; 1 while the server reads it. */
  share: number;
  state: "adding" | "added" | "failed";
  problem: string;
}

let last = 0;

export function AddDocuments({ added }: { added: () => void }) {
  const { t } = useTranslation();
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [list, setList] = useState<Adding[]>([]);

  const change = (id: number, values: Partial<Adding>) =>
    setList((now) => now.map((each) => (each.id === id ? { ...each, ...values } : each)));

  const add = async (name: string, work: (moved: (share: number) => void) => Promise<unknown>) => {
    const id = ++last;
    setList((now) => [...now.filter((each) => each.state !== "added"), { id, name, share: 0, state: "adding", problem: "" }]);
    try {
      await work((share) => change(id, { share }));
      change(id, { state: "added", share: 1 });
      added();
    } catch (error) {
      change(id, { state: "failed", problem: problemOf(error) });
    }
  };

  /** One after the other: the server reads them in few processes. */
  const addFiles = async (files: Iterable<File>) => {
    for (const file of [...files]) {
      await add(file.name, (moved) =>
        file.size > MOST_BYTES ? Promise.reject(t("library.tooLarge")) : addFile(file, moved),
      );
    }
  };
  useDrops(setOver, (files) => void addFiles(files));
  const submitted = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const url = String(new FormData(event.currentTarget).get("url")).trim();
    event.currentTarget.reset();
    if (url) void add(url, () => addPage(/^https?:/i.test(url) ? url : `https://${url}`));
  };

  return (
    <section aria-label={t("library.add")}>
      <div className="add-files" data-over={over || undefined}>
        <input
          ref={input}
          type="file"
          multiple
          accept={KINDS}
          hidden
          onChange={(event) => {
            void addFiles(event.currentTarget.files ?? []);
            event.currentTarget.value = "";
          }}
        />
        <button type="button" className="main" onClick={() => input.current!.click()}>
          {t("library.choose")}
        </button>
        <span className="soft">
          <span className="by-hand">{t("library.drop")} </span>
          {t("library.kinds")}
        </span>
      </div>
      <form className="by-address" onSubmit={submitted}>
        <label>
          <span className="unseen">{t("library.address")}</span>
          <input name="url" type="text" inputMode="url" placeholder={t("library.address")} autoComplete="off" spellCheck={false} maxLength={2000} required />
        </label>
        <button type="submit">{t("library.addPage")}</button>
      </form>
      <div role="status">
        <ul className="adding">
          {list.map((each) => (
            <li key={each.id}>
              {!each.problem.includes(each.name) && <span className="name">{each.name}</span>}
              {each.state === "adding" && <progress max={1} value={each.share < 1 && each.share > 0 ? each.share : undefined} aria-label={t("library.adding")} />}
              {each.state === "added" && <span className="right">{t("library.isAdded")}</span>}
              {each.state === "failed" && <span className="wrong">{each.problem}</span>}
            </li>
          ))}
        </ul>
      </div>
    </section>
  );
}

/** Files may be dropped anywhere on the page: beside a small target the browser would open them instead. */
function useDrops(over: (is: boolean) => void, drop: (files: FileList) => void): void {
  const latest = useRef({ over, drop });
  latest.current = { over, drop };
  useEffect(() => {
    const moved = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      latest.current.over(true);
    };
    const left = (event: DragEvent) => event.relatedTarget === null && latest.current.over(false);
    const dropped = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      latest.current.over(false);
      latest.current.drop(event.dataTransfer.files);
    };
    addEventListener("dragover", moved);
    addEventListener("dragleave", left);
    addEventListener("drop", dropped);
    return () => {
      removeEventListener("dragover", moved);
      removeEventListener("dragleave", left);
      removeEventListener("drop", dropped);
    };
  }, []);
}
