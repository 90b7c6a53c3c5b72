// German and English, following the browser unless the person chose. A test keeps both complete.

import i18next from "i18next";
import { initReactI18next } from "react-i18next";

import de from "./texts/de.json";
import en from "./texts/en.json";

export const LANGUAGES = ["en", "de"] as const;
export type Language = (typeof LANGUAGES)[number];

const CHOSEN = "denken.language";

export function chosenLanguage(): Language | null {
  const chosen = localStorage.getItem(CHOSEN);
  return chosen === "en" || chosen === "de" ? chosen : null;
}

function language(): Language {
  return chosenLanguage() ?? (navigator.language.toLowerCase().startsWith("de") ? "de" : "en");
}

/** null goes back to what the browser has. */
export function chooseLanguage(chosen: Language | null): void {
  if (chosen) localStorage.setItem(CHOSEN, chosen);
  else localStorage.removeItem(CHOSEN);
  void i18next.changeLanguage(language());
}

i18next.on("languageChanged", (language) => {
  document.documentElement.lang = language;
});

void i18next.use(initReactI18next).init({
  lng: language(),
  fallbackLng: "en",
  resources: { en: { translation: en }, de: { translation: de } },
  interpolation: { escapeValue: false }, // React escapes
  returnNull: false,
});
