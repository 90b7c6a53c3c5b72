import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

import { shell } from "./worker/shell.ts";
import { wllama } from "./worker/wllama.ts";

// `npm run dev` shows the page with a server that runs beside it: denken serve --port 8000
const SERVER = "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react(), wllama(), shell()],
  // A worker is built by itself, as a module that its policy lets in by its name (website.py).
  worker: { format: "es", plugins: () => [wllama()] },
  build: {
    outDir: "../src/denken/serve/page",
    emptyOutDir: true,
    // Everything that is loaded comes from this server; nothing is inlined, for the policy forbids data: scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: { proxy: { "/app": SERVER, "/v1": SERVER, "/health": SERVER } },
});
