import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { Icon } from "../thread/Icon";
import { copyText } from "./copy";

const SHOWN_MS = 1500;

/** text: what is copied, made when it is wanted. */
export function CopyButton({ text, label, bare }: { text: () => string; label: string; bare?: boolean }) {
  const { t } = useTranslation();
  const [said, setSaid] = useState<"" | "thread.copied" | "thread.not_copied">("");
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(""), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [said]);

  async function copy() {
    setSaid((await copyText(text())) ? "thread.copied" : "thread.not_copied");
  }

  return (
    <button type="button" className="quiet" onClick={copy} aria-label={label} title={label}>
      <Icon name={said === "thread.copied" ? "check" : "copy"} />
      {!bare && <span aria-hidden="true">{said ? t(said) : t("thread.copy")}</span>}
      <span className="unseen" role="status">
        {said && t(said)}
      </span>
    </button>
  );
}
