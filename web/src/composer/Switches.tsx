// The switches of the composer: whether the model thinks and how much, where it looks things up, and which model it is.

import { useTranslation } from "react-i18next";

import { Icon } from "../thread/Icon";
import { Popup } from "../thread/Popup";
import type { Effort, State } from "../types";
import { modelInUse, placesInUse, set, useSettings } from "./settings";

const EFFORTS: readonly Effort[] = ["low", "medium", "high"];

export function ThinkSwitch({ state }: { state: State | null }) {
  const { t } = useTranslation();
  const settings = useSettings();
  const model = modelInUse(settings, state);
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

export function SearchSwitch({ state }: { state: State | null }) {
  const { t } = useTranslation();
  const settings = useSettings();
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

export function ModelPicker({ state }: { state: State | null }) {
  const { t } = useTranslation();
  const settings = useSettings();
  const model = modelInUse(settings, state);
  if (!state || !model) return null;
  if (state.models.length === 1) return <span className="model">{model.id}</span>;
  return (
    <span className="model">
      <select aria-label={t("composer.model")} value={model.id} onChange={(event) => set({ model: event.target.value })}>
        {state.models.map(({ id }) => (
          <option key={id}>{id}</option>
        ))}
      </select>
    </span>
  );
}
