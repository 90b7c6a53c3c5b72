// Asks for the key of a server that wants one; whether it is right shows with the request that waits for it.

import type { FormEvent } from "react";
import { useTranslation } from "react-i18next";

import { keepKey } from "../api";
import { Dialog } from "./Dialog";
import { useAsking } from "./keys";

export function KeyDialog() {
  const { t } = useTranslation();
  const asking = useAsking();
  if (!asking) return null;
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    keepKey(String(form.get("key")).trim(), form.get("remember") !== null);
    asking.answer(true);
  };
  return (
    <Dialog title={t("key.heading")} onClose={() => asking.answer(false)}>
      <form onSubmit={submit}>
        <p className={asking.wrong ? "wrong" : "soft"}>{asking.wrong ? t("key.wrong") : t("key.hint")}</p>
        <label className="field">
          {t("key.label")}
          <input
            name="key"
            type="password"
            autoComplete="off"
            spellCheck={false}
            required
            pattern="\s*[!-~]{1,200}\s*"
            title={t("key.pattern")}
            data-first
          />
        </label>
        <label className="check">
          <input name="remember" type="checkbox" />
          {t("key.remember")}
        </label>
        <div className="actions">
          <button type="button" onClick={() => asking.answer(false)}>
            {t("key.cancel")}
          </button>
          <button type="submit" className="main">
            {t("key.use")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
