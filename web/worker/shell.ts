// A plugin for vite: writes sw.js beside the built page, with the names of the files that the shell is made of.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Plugin } from "vite";

// Fonts in older formats and pictures for installing are not needed to open.
const NOT_SHELL = /\.(woff|ttf|png)$/;

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
      const files = readdirSync(outDir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !NOT_SHELL.test(entry.name))
        .map((entry) => join(entry.parentPath, entry.name))
        .sort();
      const version = createHash("sha256");
      for (const file of files) version.update(readFileSync(file));
      const names = files.map((file) => file.slice(outDir.length).replaceAll("\\", "/").replace("/index.html", "/"));
      const worker = readFileSync(join(root, "worker", "sw.js"), "utf-8")
        .replace('VERSION"', `${version.digest("hex").slice(0, 16)}"`)
        .replace("const FILES = []", `const FILES = ${JSON.stringify(names)}`);
      writeFileSync(join(outDir, "sw.js"), worker);
    },
  };
}
