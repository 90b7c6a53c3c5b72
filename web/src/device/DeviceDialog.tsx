// "On this device": what it is, what it takes, and fetching the model or taking it away.

import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { Dialog } from "../around/Dialog";
import { set } from "../composer/settings";
import { problemOf } from "../problem";
import { useServerState } from "../state";
import { download } from "./download";
import type { Offer } from "./file";
import { Damaged, bytesOf, callOff, fileOf, isAble, readOffer, remove, take, useOnDevice } from "./offer";
import "./device.css";

export function DeviceDialog({ onClose }: { onClose: () => void }) {
  const { t, i18n } = useTranslation();
  const { state } = useServerState();
  const { kept, isSpoilt, done, problem } = useOnDevice();
  const { offer, failed } = useOffer(isAble() && state?.device === true);
  const shown = kept ?? offer;
  const isWhole = kept !== null && !isSpoilt;
  const isNewer = kept !== null && offer !== null && offer.file.sha256 !== kept.file.sha256;
  // Without the server there is nothing wrong with a model that is here.
  const wrong = problem instanceof Damaged || (isSpoilt && !problem) ? t("device.spoilt") : (problem ?? (isWhole ? null : failed)) ? problemOf(problem ?? failed) : null;
  const megabytes = (bytes: number) => new Intl.NumberFormat(i18n.language, { maximumFractionDigits: 1 }).format(bytes / 1e6);

  // What is fetched is fetched to be used.
  const fetchIt = async (which: Offer) => (await take(which)) && set({ here: true });

  return (
    <Dialog title={t("device.title")} className="device" onClose={onClose}>
      <p>{t("device.says")}</p>
      {shown && (
        <ul>
          <li>{t("device.takes", { model: shown.id, megabytes: megabytes(bytesOf(shown)) })}</li>
          <li>{t("device.stays")}</li>
          <li>{t("device.lacks")}</li>
        </ul>
      )}
      {isWhole && done === null && <p className="there">{t(isNewer ? "device.isNewer" : "device.isThere")}</p>}
      {done !== null && <progress value={done} aria-label={t("device.fetching")} />}
      <div role="status" className="soft">
        {done !== null && t("device.fetched", { percent: Math.floor(done * 100) })}
      </div>
      {wrong !== null && done === null && (
        <p className="problem" role="alert">
          {wrong}
        </p>
      )}
      <div className="does">
        {done !== null && (
          <button type="button" onClick={callOff}>
            {t("device.cancel")}
          </button>
        )}
        {done === null && offer && (!isWhole || isNewer) && (
          <button type="button" className="strong" data-first onClick={() => void fetchIt(offer)}>
            {t("device.fetch", { megabytes: megabytes(bytesOf(offer)) })}
          </button>
        )}
        {done === null && kept && (
          <>
            {isWhole && !isNewer && (
              <button type="button" className="strong" data-first onClick={() => (set({ here: true }), onClose())}>
                {t("device.use")}
              </button>
            )}
            {isWhole && (
              <button type="button" onClick={() => void save(kept)}>
                {t("device.save")}
              </button>
            )}
            <button type="button" onClick={() => (set({ here: false }), void remove())}>
              {t("device.remove")}
            </button>
          </>
        )}
      </div>
    </Dialog>
  );
}

/** The same file opens in other programs. */
async function save(offer: Offer): Promise<void> {
  const file = await fileOf(offer);
  if (file) download(file, `${offer.id.replace(/[^\w.-]+/g, "-")}.gguf`);
}

/** What the server offers, asked for when the dialog opens. */
function useOffer(asks: boolean): { offer: Offer | null; failed: unknown } {
  const [told, setTold] = useState<{ offer: Offer | null; failed: unknown }>({ offer: null, failed: null });
  useEffect(() => {
    if (!asks) return;
    let isOpen = true;
    readOffer().then(
      (offer) => isOpen && setTold({ offer, failed: null }),
      (failed: unknown) => isOpen && setTold({ offer: null, failed }),
    );
    return () => void (isOpen = false);
  }, [asks]);
  return told;
}
