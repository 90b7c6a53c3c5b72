// What a person sets for this browser: language, colours, the key, the app; and the import of conversations.

import { type ReactNode, useId, useState } from "react";
import { useTranslation } from "react-i18next";

import { forgetKey, key } from "../api";
import { chooseLanguage, chosenLanguage, type Language } from "../i18n";
import { isAble, useOnDevice } from "../device/offer";
import { useServerState } from "../state";
import { Dialog } from "./Dialog";
import { ImportSection } from "./ImportSection";
import { install, useInstallOffer } from "./install";
import { chooseScheme, chosenScheme, type Scheme } from "./scheme";
import { open } from "./shown";

export function SettingsDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const { state } = useServerState();
  const offered = useInstallOffer();
  const { kept } = useOnDevice();
  return (
    <Dialog title={t("settings.title")} className="settings" onClose={onClose}>
      <LanguageChoice />
      <SchemeChoice />
      {(state?.keys || key() !== null) && <KeySection />}
      <ImportSection />
      {(kept || state?.device) && (
        <Section title={t("device.title")} says={t(kept ? "device.isHere" : isAble() ? "device.offers" : "device.notAble")}>
          {(kept || isAble()) && (
            <button type="button" onClick={() => open({ name: "device" })}>
              {t(kept ? "device.manage" : "device.more")}
            </button>
          )}
        </Section>
      )}
      {offered && (
        <Section title={t("settings.app")} says={t("settings.appSays")}>
          <button type="button" onClick={() => void install()}>
            {t("settings.install")}
          </button>
        </Section>
      )}
      <Section title={t("shortcuts.title")} says={t("settings.shortcutsSay")} className="for-keyboards">
        <button type="button" onClick={() => open({ name: "shortcuts" })}>
          {t("settings.shortcuts")}
        </button>
      </Section>
      {state && <p className="soft version">{t("settings.version", { version: state.version })}</p>}
    </Dialog>
  );
}

interface SectionProps {
  title: string;
  says?: string;
  className?: string;
  children: ReactNode;
}

export function Section({ title, says, className, children }: SectionProps) {
  return (
    <section className={className}>
      <h3>{title}</h3>
      {says && <p className="soft">{says}</p>}
      {children}
    </section>
  );
}

function LanguageChoice() {
  const { t } = useTranslation();
  const [chosen, setChosen] = useState(chosenLanguage);
  const options: [Language | null, string][] = [
    [null, t("settings.browser")],
    ["de", "Deutsch"],
    ["en", "English"],
  ];
  const take = (language: Language | null) => {
    setChosen(language);
    chooseLanguage(language);
  };
  return <Choice title={t("settings.language")} options={options} chosen={chosen} take={take} />;
}

function SchemeChoice() {
  const { t } = useTranslation();
  const [chosen, setChosen] = useState(chosenScheme);
  const options: [Scheme | null, string][] = [
    [null, t("settings.browser")],
    ["light", t("settings.light")],
    ["dark", t("settings.dark")],
  ];
  const take = (scheme: Scheme | null) => {
    setChosen(scheme);
    chooseScheme(scheme);
  };
  return <Choice title={t("settings.scheme")} options={options} chosen={chosen} take={take} />;
}

interface ChoiceProps<T extends string> {
  title: string;
  options: [T | null, string][];
  chosen: T | null;
  take: (value: T | null) => void;
}

/** One of a few, side by side: radio buttons, with their keys. */
function Choice<T extends string>({ title, options, chosen, take }: ChoiceProps<T>) {
  const heading = useId();
  return (
    <div className="choice" role="radiogroup" aria-labelledby={heading}>
      <h3 id={heading}>{title}</h3>
      <div>
        {options.map(([value, label]) => (
          <label key={label}>
            <input type="radio" name={title} checked={chosen === value} onChange={() => take(value)} />
            <span>{label}</span>
          </label>
        ))}
      </div>
    </div>
  );
}

function KeySection() {
  const { t } = useTranslation();
  const [kept, setKept] = useState(() => key() !== null);
  const remembered = localStorage.getItem("denken.key") !== null;
  const forget = () => {
    forgetKey();
    setKept(false);
  };
  const says = !kept ? t("settings.keyNone") : remembered ? t("settings.keyRemembered") : t("settings.keyInTab");
  return (
    <Section title={t("settings.key")} says={says}>
      {kept && (
        <button type="button" onClick={forget}>
          {t("settings.keyForget")}
        </button>
      )}
    </Section>
  );
}
