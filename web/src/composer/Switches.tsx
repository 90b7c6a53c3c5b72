// The switches of the composer: whether the model thinks and how much, where it looks things up, and which model it is.

import { useTranslation } from "react-i18next";

import { Icon } from "../thread/Icon";
import { Popup } from "../thread/Popup";
import { open, useWide } from "../around/shown";
import { isAble, useOnDevice } from "../device/offer";
import type { Thread } from "../thread/thread";
import type { Effort } from "../types";
import { type Answering, placesInUse, set, useSettings } from "./settings";

const EFFORTS: readonly Effort[] = ["low", "medium", "high"];

export function ThinkSwitch({ model }: { model: Answering["model"] }) {
  const { t } = useTranslation();
  const settings = useSettings();
  const isAlways = model?.about.thinks === "always";
  const isOn = isAlways || settings.thinking;
  const content = (
    <>
      <Icon name="thought" />
      <span>{t("composer.think")}</span>
    </>
  );
  return (
    <span className={isOn ? "switch on" : "switch"}>
      {isAlways ? (
        <Popup label={t("composer.think_always_label")} className="toggle" button={content}>
          {() => <p className="why">{t("composer.think_always", { model: model.id })}</p>}
        </Popup>
      ) : (
        <button type="button" className="toggle" aria-pressed={isOn} title={t("composer.think_hint")} onClick={() => set({ thinking: !isOn })}>
          {content}
        </button>
      )}
      {isOn && (
        <Popup
          label={t("composer.effort", { effort: t(`composer.effort_${settings.effort}`) })}
          className="more"
          button={
            <>
              <span className="level">{t(`composer.effort_${settings.effort}`)}</span>
              <Icon name="fold" />
            </>
          }
        >
          {() => (
            <fieldset className="menu">
              <legend>{t("composer.effort_legend")}</legend>
              {EFFORTS.map((effort) => (
                <label key={effort}>
                  <input type="radio" name="effort" checked={settings.effort === effort} onChange={() => set({ effort })} />
                  <span>
                    {t(`composer.effort_${effort}`)}
                    <small>{t(`composer.effort_${effort}_hint`)}</small>
                  </span>
                </label>
              ))}
            </fieldset>
          )}
        </Popup>
      )}
    </span>
  );
}

export function SearchSwitch({ answering: { state, here } }: { answering: Answering }) {
  const { t } = useTranslation();
  const settings = useSettings();
  if (here) {
    const content = (
      <>
        <Icon name="search" />
        <span>{t("composer.search")}</span>
      </>
    );
    return (
      <span className="switch not">
        <Popup label={t("device.noSearchLabel")} className="toggle" button={content}>
          {() => <p className="why">{t("device.noSearch")}</p>}
        </Popup>
      </span>
    );
  }
  if (!state || state.search.length === 0) return null;
  const places = placesInUse(settings, state);
  const isOn = settings.searching && places.length > 0;

  function toggle() {
    // Switched on without a place to look in, it means all of them.
    set(isOn ? { searching: false } : { searching: true, ...(places.length === 0 && { places: state!.search }) });
  }

  return (
    <span className={isOn ? "switch on" : "switch"}>
      <button type="button" className="toggle" aria-pressed={isOn} title={t("composer.search_hint")} onClick={toggle}>
        <Icon name="search" />
        <span>{t("composer.search")}</span>
      </button>
      <Popup label={t("composer.places")} className="more" button={<Icon name="fold" />}>
        {() => (
          <fieldset className="menu">
            <legend>{t("composer.places")}</legend>
            {state.search.map((place) => (
              <label key={place}>
                <input
                  type="checkbox"
                  checked={places.includes(place)}
                  onChange={({ target }) => {
                    const others = settings.places.filter((other) => other !== place);
                    set({ places: target.checked ? [...others, place] : others });
                  }}
                />
                <span>
                  {t(`composer.place_${place}`)}
                  <small>{t(`composer.place_${place}_hint`, { provider: state.web_search })}</small>
                </span>
              </label>
            ))}
          </fieldset>
        )}
      </Popup>
    </span>
  );
}

/** The value of the choice that is this device; no model of a server is called so. */
const HERE = "\0here";

/** Which model answers: for a conversation that has not begun one of the server's or this device's, later its own. */
export function ModelPicker({ thread, answering: { state, here, model } }: { thread: Thread; answering: Answering }) {
  const { t } = useTranslation();
  const { kept } = useOnDevice();
  const wide = useWide();
  if (here && thread.id !== null) {
    return (
      <span className="model here" title={t("device.name")}>
        <Icon name="device" />
        <span>{t("device.name")}</span>
      </span>
    );
  }
  const offered = thread.id === null && (kept !== null || (state?.device === true && isAble()));
  const models = state?.models ?? [];
  if (!offered && models.length <= 1) return model && <span className="model">{model.id}</span>;

  function choose(value: string) {
    if (value === HERE && kept === null) return open({ name: "device" });
    thread.staysHere = false;
    set(value === HERE ? { here: true } : { here: false, model: value });
  }

  return (
    <span className={here ? "model here" : "model"}>
      {here && <Icon name="device" />}
      <select aria-label={t("composer.model")} value={here ? HERE : (model?.id ?? "")} onChange={(event) => choose(event.target.value)}>
        {models.map(({ id }) => (
          <option key={id} value={id}>
            {id}
          </option>
        ))}
        {offered && <option value={HERE}>{t(kept === null ? "device.choose" : wide ? "device.name" : "device.short")}</option>}
      </select>
    </span>
  );
}
