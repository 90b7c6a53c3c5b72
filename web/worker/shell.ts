// A plugin for vite: writes sw.js beside the built page, with the names of the files that the shell is made of.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Plugin } from "vite";

// Fonts in older formats and pictures for installing are not needed to open, nor is what a model runs in.
const ENGINE = /\.wasm$/;
const NOT_SHELL = /\.(woff|ttf|png|wasm)$/;

export function shell(): Plugin {
  let root = "";
  let outDir = "";
  return {
    name: "denken-shell",
    apply: "build",
    configResolved(config) {
      root = config.root;
      outDir = resolve(root, config.build.outDir);
    },
    writeBundle() {
      const all = readdirSync(outDir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .sort();
      const files = all.filter((file) => !NOT_SHELL.test(file));
      const version = createHash("sha256");
      for (const file of files) version.update(readFileSync(file));
      const address = (file: string) => file.slice(outDir.length).replaceAll("\\", "/").replace("/index.html", "/");
      const engine = all.filter((file) => ENGINE.test(file)).map(address);
      const worker = readFileSync(join(root, "worker", "sw.js"), "utf-8")
        .replace('VERSION"', `${version.digest("hex").slice(0, 16)}"`)
        .replace("const FILES = []", `const FILES = ${JSON.stringify(files.map(address))}`)
        .replace("const ENGINE = []", `const ENGINE = ${JSON.stringify(engine)}`);
      writeFileSync(join(outDir, "sw.js"), worker);
    },
  };
}
