// The service worker: keeps the shell, so that the page opens without the server and says so itself.
//
// It touches nothing but the page's own files. What is said, and every other answer of the server, passes by it and is
// never kept; the model that a person has fetched for this device lies in a cache of the page's own, which it leaves alone
// but for the code of llama.cpp: that is handed out from there, and brought up to date with the page. A new version is used as soon as it is there: the address of a page goes to the network first, and the
// files that the page names have their hash in their name, so that an old page and a new one never mix.
//
// `vite.config.ts` puts the names of the files in the place of FILES and ENGINE, and a hash of them in the place of VERSION.

const CACHE = "denken-shell-VERSION";
const FILES = [];
// The page keeps the model here (web/src/device/file.ts), and what it runs in.
const DEVICE = "denken-device";
const ENGINE = [];
// A network that is there and does not answer is as good as none.
const PATIENCE_MS = 4000;
const PAGES = /^\/(c\/[^/]+|library|runs(\/[^/]+)?|usage|shared\/[^/]+)?$/;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" }))))
      .then(engine)
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name !== CACHE && name !== DEVICE).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== self.location.origin) return;
  if (mode === "navigate") {
    if (PAGES.test(pathname)) event.respondWith(page(event.request));
  } else if (ENGINE.includes(pathname)) {
    event.respondWith(caches.match(pathname, { cacheName: DEVICE }).then((found) => found ?? fetch(event.request)));
  } else if (FILES.includes(pathname)) {
    event.respondWith(pathname.startsWith("/assets/") ? kept(event.request) : newest(event.request));
  }
});

/** The page from the server; the one that is kept where the server, or the proxy before it, has none to give. */
async function page(request) {
  const shell = await caches.match("/", { cacheName: CACHE });
  if (shell === undefined) return fetch(request);
  try {
    const response = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
    return response.status >= 500 ? shell : response;
  } catch {
    return shell;
  }
}

/** Where a model is kept, the code that this version of the page runs it with; the one before goes with its page. */
async function engine() {
  if (!(await caches.has(DEVICE))) return;
  const cache = await caches.open(DEVICE);
  for (const file of ENGINE) if (!(await cache.match(file))) await cache.add(file);
}

async function kept(request) {
  return (await caches.match(request, { cacheName: CACHE })) ?? fetch(request);
}

async function newest(request) {
  try {
    return await fetch(request);
  } catch {
    return (await caches.match(request, { cacheName: CACHE })) ?? Response.error();
  }
}
