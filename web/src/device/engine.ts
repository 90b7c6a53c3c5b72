// llama.cpp in this worker: a model's bytes in, ids in and out. One model, one conversation in its cache at a time.
//
// Everything here blocks until it is done, which is why it runs in a worker, and in small steps.

import { type Compiled, glueDeserialize, glueSerialize, start } from "virtual:wllama";

import type { Sampling } from "./file";

const FILE = "model.gguf";
/** Of a prompt, so many ids are computed at a time; between two of them the worker hears what it is told. */
export const BATCH = 128;

export interface Sampled {
  id: number;
  /** What it stands for, perhaps a part of a letter. */
  bytes: Uint8Array;
}

interface Loaded {
  list_tokens_eog: number[];
}

export class Engine {
  /** The ids that end a text. */
  readonly ends: ReadonlySet<number>;
  /** The ids whose keys and values the cache holds. */
  private cached: number[] = [];

  private constructor(
    private readonly module: Compiled,
    readonly context: number,
  ) {
    const { list_tokens_eog } = this.act<Loaded>("load", {
      _name: "load_req",
      model_paths: [`/${FILE}`],
      n_ctx_auto: false,
      use_mmap: false,
      use_mlock: false,
      n_gpu_layers: 0,
      seed: crypto.getRandomValues(new Int32Array(1))[0]! & 0x7fffffff,
      n_ctx: context,
      n_threads: 1,
      n_batch: BATCH,
    });
    this.ends = new Set(list_tokens_eog);
  }

  /** wasm: the address of the compiled code. Raises an Error where it cannot be had or the file is no model. */
  static async open(file: Uint8Array, context: number, wasm: string): Promise<Engine> {
    const module = await begun(wasm);
    module.FS_createDataFile("/", FILE, file, true, false, true);
    module.ccall("wllama_start", "string", [], []);
    return new Engine(module, context);
  }

  /** Bytes of memory that the code, the weights and the cache take. */
  get memory(): number {
    return this.module.HEAPU8.length;
  }

  encode = (text: string): number[] => {
    return this.act<{ tokens: number[] }>("tokenize", { _name: "tokn_req", text, special: false }).tokens;
  };

  setSampling({ temperature, top_p, top_k, min_p }: Sampling): void {
    this.act("sampling_init", { _name: "sint_req", temp: temperature, top_p, top_k, min_p });
  }

  /** Keeps what the cache has of the beginning of a prompt, but for its last id. Returns how many ids that is. */
  keep(prompt: readonly number[]): number {
    let same = 0;
    while (same < Math.min(this.cached.length, prompt.length - 1) && this.cached[same] === prompt[same]) same += 1;
    if (same === 0) this.act("kv_clear", { _name: "kvcc_req" });
    else if (same < this.cached.length) this.act("kv_remove", { _name: "kvcr_req", n_keep: same, n_discard: -1 });
    this.cached = this.cached.slice(0, same);
    return same;
  }

  /** Computes ids that follow what is cached, `BATCH` at the most; the next one can then be sampled. */
  feed(ids: number[]): void {
    const { success } = this.act<{ success: boolean }>("decode", { _name: "deco_req", tokens: ids, skip_logits: false });
    if (!success) throw new Error("llama.cpp could not go on.");
    this.cached.push(...ids);
  }

  sample(): Sampled {
    const { token, piece } = this.act<{ token: number; piece: Uint8Array }>("sampling_sample", { _name: "ssam_req" });
    return { id: token, bytes: piece };
  }

  /** The likeliest id that does not end the text. */
  sampleOn(): Sampled {
    const { tokens } = this.act<{ tokens: number[] }>("get_logits", { _name: "glog_req", top_k: this.ends.size + 1 });
    const id = tokens.find((token) => !this.ends.has(token))!;
    return { id, bytes: this.bytes([id]) };
  }

  accept(id: number): void {
    this.act("sampling_accept", { _name: "sacc_req", tokens: [id] });
  }

  bytes(ids: number[]): Uint8Array {
    return this.act<{ buffer: Uint8Array }>("detokenize", { _name: "dtkn_req", tokens: ids }).buffer;
  }

  private act<T>(name: string, message: object): T {
    const { module } = this;
    const given = glueSerialize(message);
    const at = module._wllama_malloc(given.byteLength, 0);
    module.HEAPU8.set(given, at);
    const result = module.ccall("wllama_action", "number", ["string", "number"], [name, at]) as number;
    if (!result) throw new Error(`llama.cpp refused: ${name}.`);
    // The length of the result stands where the message was.
    const length = new DataView(module.HEAPU8.buffer).getUint32(at, true);
    return glueDeserialize(module.HEAPU8.slice(result, result + length)) as T;
  }
}

function begun(wasm: string): Promise<Compiled> {
  return new Promise((resolve, reject) => {
    const module: Partial<Compiled> = {
      noInitialRun: true,
      print: () => undefined,
      printErr: () => undefined,
      onAbort: (why) => reject(new Error(`llama.cpp ended: ${String(why)}`)),
      onRuntimeInitialized: () => resolve(module as Compiled),
      instantiateWasm: (imports, done) => {
        WebAssembly.instantiateStreaming(fetch(wasm), imports).then(({ instance }) => done(instance), reject);
        return {};
      },
    };
    start(module);
  });
}
