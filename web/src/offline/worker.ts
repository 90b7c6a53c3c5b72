// Registers the service worker (worker/sw.js), where browsers have one: on https and on this machine itself.
//
// After an update of the server, a page that is still open may ask for a file that is no more; it is loaded again then,
// once, as the new version.

const RELOADED = "denken.reloaded";
const ONCE_IN_MS = 60_000;

addEventListener("vite:preloadError", (event) => {
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  if (Date.now() - last < ONCE_IN_MS) return;
  event.preventDefault();
  sessionStorage.setItem(RELOADED, String(Date.now()));
  location.reload();
});

if (import.meta.env.PROD && "serviceWorker" in navigator) {
  addEventListener("load", () => {
    // Without one the page works, too; it only cannot open without the server.
    navigator.serviceWorker.register("/sw.js", { updateViaCache: "none" }).catch(() => undefined);
  });
}
