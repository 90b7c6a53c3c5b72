// What worker/wllama.ts makes of wllama's files.

declare module "virtual:wllama" {
  export interface Compiled {
    noInitialRun: boolean;
    print: (line: string) => void;
    printErr: (line: string) => void;
    onAbort: (why: unknown) => void;
    onRuntimeInitialized: () => void;
    instantiateWasm: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) => object;
    // From here on: there once it runs.
    HEAPU8: Uint8Array;
    _wllama_malloc: (size: number, unused: number) => number;
    ccall: (name: string, gives: "string" | "number", takes: ("string" | "number")[], given: (string | number)[]) => unknown;
    FS_createDataFile: (folder: string, name: string, content: Uint8Array, read: boolean, write: boolean, own: boolean) => void;
  }
  export function start(module: Partial<Compiled>): void;
  export function glueSerialize(message: object): Uint8Array;
  export function glueDeserialize(bytes: Uint8Array): unknown;
}

declare module "virtual:wllama/wasm" {
  /** Its address, with its hash. */
  export const url: string;
  export const bytes: number;
}
