// A plugin for vite: llama.cpp as wllama compiles it to WebAssembly, as a module that a worker of ours imports.
//
// wllama itself starts its worker from a text (a blob), which our policy forbids, and its script is no module. Here the
// script becomes a function that is given what emscripten takes from outside; the worker stays a file of this origin.

import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Plugin } from "vite";

const NAME = "virtual:wllama";
const FOLDER = dirname(createRequire(import.meta.url).resolve("@wllama/wllama/package.json"));
const SCRIPT = join(FOLDER, "src", "single-thread", "wllama.js");
const WASM = join(FOLDER, "src", "single-thread", "wllama.wasm");
const LICENCE = join(FOLDER, "LICENCE");
const GLUE = join(FOLDER, "src", "glue", "glue.ts");

/** The functions for the worker, the address of the WebAssembly, and its size for whoever has to fetch it. */
export function wllama(): Plugin {
  return {
    name: "denken-wllama",
    resolveId: (id) => (id.startsWith(NAME) ? `\0${id}` : null),
    load(id) {
      if (id === `\0${NAME}/wasm`) {
        return `export { default as url } from ${JSON.stringify(`${WASM}?url`)}; export const bytes = ${statSync(WASM).size};`;
      }
      if (id !== `\0${NAME}`) return null;
      const script = readFileSync(SCRIPT, "utf-8");
      const own = "var Module=typeof Module";
      if (!script.includes(own)) throw new Error(`${SCRIPT} is another script than this plugin knows.`);
      // Whatever runs it, it finds itself in a worker, and no Node.
      const given = "Module, process, window, module, require";
      const licence = readFileSync(LICENCE, "utf-8").replaceAll("*/", "");
      return [
        // MIT asks for its text beside what is handed on; a comment like this one outlives the minifier.
        `/*! wllama, and the compiled llama.cpp (Copyright (c) The ggml authors, MIT License as well)\n\n${licence}*/`,
        `export { glueSerialize, glueDeserialize } from ${JSON.stringify(GLUE)};`,
        `export function start(${given}) {\n${script.replace(own, "Module=typeof Module")}\nreturn Module;\n}`,
      ].join("\n");
    },
  };
}
