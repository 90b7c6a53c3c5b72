// A link under which anybody who has it can read a conversation as it is now, without a key: made, copied, withdrawn.

import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

import { getJson, sendJson } from "../api";
import type { Conversation } from "../types";
import { Dialog } from "./Dialog";
import { problemOf } from "../problem";

const LOCAL = ["127.0.0.1", "localhost", "[::1]"];

export function ShareDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const { t } = useTranslation();
  /** undefined until it is known. */
  const [token, setToken] = useState<string | null>();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [renewed, setRenewed] = useState(false);

  const attempt = async (what: () => Promise<string | null>) => {
    setBusy(true);
    setProblem("");
    setRenewed(false);
    try {
      setToken(await what());
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };
  useEffect(() => void attempt(async () => (await getJson<Conversation>(`/app/conversations/${id}`)).share), [id]);
  const make = () => attempt(async () => (await sendJson<{ token: string }>("POST", `/app/conversations/${id}/share`)).token);
  const withdraw = () =>
    attempt(async () => {
      await sendJson("DELETE", `/app/conversations/${id}/share`);
      return null;
    });

  return (
    <Dialog title={t("around.shareTitle")} onClose={onClose}>
      <p className="soft">{t("around.shareSays")}</p>
      {token && <Address url={`${location.origin}/shared/${token}`} />}
      {token && LOCAL.includes(location.hostname) && <p className="soft">{t("around.shareLocal")}</p>}
      <p role="status">{renewed && !problem && t("around.shareRenewed")}</p>
      {problem && (
        <p className="wrong" role="alert">
          {problem}
        </p>
      )}
      <div className="actions">
        {token ? (
          <>
            <button type="button" className="danger" disabled={busy} onClick={() => void withdraw()}>
              {t("around.shareWithdraw")}
            </button>
            <button type="button" disabled={busy} onClick={() => void make().then(() => setRenewed(true))}>
              {t("around.shareRenew")}
            </button>
          </>
        ) : (
          <button type="button" className="main" disabled={busy || token === undefined} onClick={() => void make()}>
            {t("around.shareMake")}
          </button>
        )}
      </div>
    </Dialog>
  );
}

function Address({ url }: { url: string }) {
  const { t } = useTranslation();
  const [copied, setCopied] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const copy = async () => {
    field.current!.select();
    // Beyond this machine there is no clipboard without TLS; then the text is selected, and the browser's keys copy it.
    await navigator.clipboard?.writeText(url);
    setCopied(navigator.clipboard !== undefined);
  };
  return (
    <div className="address">
      <input ref={field} readOnly value={url} aria-label={t("around.shareAddress")} onFocus={() => field.current!.select()} />
      <button type="button" className="main" onClick={() => void copy()}>
        {t("around.copy")}
      </button>
      <span role="status">{copied && t("around.copied")}</span>
    </div>
  );
}
