// Light or dark: as the browser has it, unless the person chose. public/scheme.js does it before the first paint.

export type Scheme = "light" | "dark";

const CHOSEN = "denken.scheme";

export function chosenScheme(): Scheme | null {
  const chosen = localStorage.getItem(CHOSEN);
  return chosen === "light" || chosen === "dark" ? chosen : null;
}

/** null goes back to what the browser has. */
export function chooseScheme(scheme: Scheme | null): void {
  if (scheme) localStorage.setItem(CHOSEN, scheme);
  else localStorage.removeItem(CHOSEN);
  if (scheme) document.documentElement.dataset.scheme = scheme;
  else delete document.documentElement.dataset.scheme;
}

/** Calls back when the colours change, by the choice or by the browser. Returns how to stop. */
export function onScheme(listener: () => void): () => void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = new MutationObserver(listener);
  dark.addEventListener("change", listener);
  chosen.observe(document.documentElement, { attributeFilter: ["data-scheme"] });
  return () => {
    dark.removeEventListener("change", listener);
    chosen.disconnect();
  };
}
