// A strip over everything while the server cannot be reached: what still works, what needs it, and "try again".

import { useState } from "react";
import { useTranslation } from "react-i18next";

import { useOnDevice } from "../device/offer";
import "./offline.css";
import { tryAgain, useReached } from "./reach";

export function Offline() {
  const { t } = useTranslation();
  const reached = useReached();
  const { kept } = useOnDevice();
  const [trying, setTrying] = useState(false);

  async function again() {
    setTrying(true);
    await tryAgain();
    setTrying(false);
  }

  // The region is there before it speaks: else screen readers would not say what comes into it.
  return (
    <div className="offline" role="status" hidden={reached}>
      {!reached && (
        <>
          <span>{t(kept ? "offline.saysHere" : "offline.says")}</span>
          <button type="button" onClick={() => void again()} disabled={trying}>
            {t(trying ? "offline.trying" : "offline.again")}
          </button>
        </>
      )}
    </div>
  );
}
