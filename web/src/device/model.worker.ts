// The worker that the model runs in. It takes the file from what the browser keeps, checks that it is whole, and answers
// one question after the other. Nothing here asks the network for anything but the code of llama.cpp, which the service
// worker has.

import { Engine } from "./engine";
import { CACHE, type Offer, digest } from "./file";
import { budgetOf, leftOut } from "./fitting";
import { type Counted, generate, hasRoom } from "./generate";
import type { Failing, FromWorker, Question, ToWorker } from "./messages";
import type { Piece } from "./sorter";
import { type Vocabulary, render } from "./template";

/** What became certain is told so often. */
const TELL_MS = 16;

let opened: { engine: Engine; vocabulary: Vocabulary; offer: Offer } | null = null;
const waiting: { number: number; asked: Question }[] = [];
const stopped = new Set<number>();
let busy = false;

class NoModel extends Error {
  constructor(
    readonly why: Failing,
    message: string,
  ) {
    super(message);
  }
}

function tell(message: FromWorker): void {
  postMessage(message);
}

addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "open") void open(data.offer, data.wasm);
  else if (data.kind === "stop") stopped.add(data.number);
  else {
    waiting.push(data);
    if (!busy) void work();
  }
});

async function open(offer: Offer, wasm: string): Promise<void> {
  try {
    const engine = await Engine.open(await fileOf(offer), offer.context, wasm);
    engine.setSampling(offer.sampling);
    opened = { engine, vocabulary: { controls: offer.controls, encode: engine.encode }, offer };
    tell({ kind: "opened", memory: engine.memory });
  } catch (error) {
    tell({ kind: "failed", why: error instanceof NoModel ? error.why : "broken", message: String(error) });
  }
}

/** The bytes that were fetched, if they are the ones that the server said. */
async function fileOf({ file }: Offer): Promise<Uint8Array> {
  const found = await (await caches.open(CACHE)).match(file.url);
  if (found === undefined) throw new NoModel("missing", "The file is not on this device.");
  const bytes = await found.arrayBuffer();
  if ((await digest(bytes)) !== file.sha256) throw new NoModel("damaged", "The file is not the one that was fetched.");
  return new Uint8Array(bytes);
}

async function work(): Promise<void> {
  busy = true;
  for (let next = waiting.shift(); next; next = waiting.shift()) await answer(next.number, next.asked);
  busy = false;
}

async function answer(number: number, asked: Question): Promise<void> {
  const counted: Counted = { prompt_tokens: 0, cached_tokens: 0, thought_tokens: 0, answer_tokens: 0 };
  const end = (how: (FromWorker & { kind: "ended" })["end"], left = 0, message = "") => {
    stopped.delete(number);
    tell({ kind: "ended", number, end: how, counted, leftOut: left, message });
  };
  if (opened === null) return end("failed");
  const { engine, vocabulary, offer } = opened;
  let left = 0;
  try {
    const { history, question, thinking } = asked;
    left = leftOut(history, asked.leftOut, offer.context, (some) => render(some, question, vocabulary, thinking).length);
    const prompt = render(history.slice(left), question, vocabulary, thinking);
    if (!hasRoom(prompt, offer.context)) return end("too_long");
    const how = await run(number, generate(engine, vocabulary, { prompt, thinking, budget: budgetOf(asked.effort, offer.context) }, counted));
    end(how, left);
  } catch (error) {
    end("failed", left, String(error));
  }
}

/** Tells what is said, a frame at a time; between two of them it hears whether it is to stop. */
async function run(number: number, reply: Generator<Piece[], "done" | "cut">): Promise<"done" | "cut" | "stopped"> {
  let pieces: Piece[] = [];
  let since = performance.now();
  for (;;) {
    const { done, value } = reply.next();
    if (done) {
      if (pieces.length > 0) tell({ kind: "said", number, pieces });
      return value;
    }
    pieces.push(...value);
    if (performance.now() - since < TELL_MS) continue;
    if (pieces.length > 0) tell({ kind: "said", number, pieces });
    pieces = [];
    await new Promise((resolve) => setTimeout(resolve));
    since = performance.now();
    if (stopped.has(number)) return "stopped";
  }
}
