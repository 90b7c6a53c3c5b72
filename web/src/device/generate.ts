// One reply, id by id: the prompt through the network, then what is sampled, with a thought that leaves room for an
// answer, as the server's engine does it (engine/sequence.py). A generator, so that between two steps its caller can
// hear that it is to stop.

import { BATCH, type Engine } from "./engine";
import { LEAST_ROOM, thoughtLimit } from "./fitting";
import { type Piece, Sorter } from "./sorter";
import { type Vocabulary, endOfThinking } from "./template";

export interface Asked {
  prompt: readonly number[];
  thinking: boolean;
  /** Ids of thought at the most; null: as many as leave room for an answer. */
  budget: number | null;
}

export interface Counted {
  prompt_tokens: number;
  cached_tokens: number;
  thought_tokens: number;
  answer_tokens: number;
}

/** What of the engine is needed here; a test has another one. */
export type Runs = Pick<Engine, "context" | "ends" | "keep" | "feed" | "sample" | "sampleOn" | "accept" | "bytes">;

/** Yields what became certain, often nothing; returns whether it ended by itself. counted grows meanwhile. */
export function* generate(engine: Runs, vocabulary: Vocabulary, asked: Asked, counted: Counted): Generator<Piece[], "done" | "cut"> {
  const { prompt, thinking } = asked;
  const room = engine.context - prompt.length;
  const closing = endOfThinking(vocabulary);
  const limit = thoughtLimit(room, closing.length, asked.budget);
  const sorter = new Sorter(vocabulary.controls, thinking);
  let generated = 0;
  let owesAnswer = false;

  counted.prompt_tokens = prompt.length;
  counted.cached_tokens = engine.keep(prompt);
  for (let at = counted.cached_tokens; at < prompt.length; at += BATCH) {
    engine.feed(prompt.slice(at, at + BATCH));
    yield [];
  }

  const take = (id: number, bytes: Uint8Array) => {
    // The tag that closes a thought is one of its ids.
    if (sorter.inThought) counted.thought_tokens += 1;
    else counted.answer_tokens += 1;
    generated += 1;
    sorter.push(id, bytes);
    engine.accept(id);
  };
  const close = () => {
    for (const id of closing) take(id, engine.bytes([id]));
    owesAnswer = true;
    return closing;
  };
  const canClose = () => room - generated > closing.length;

  for (;;) {
    let next: number[];
    if (sorter.inThought && limit !== null && generated >= limit && canClose()) next = close();
    else {
      let { id, bytes } = engine.sample();
      if (engine.ends.has(id) && owesAnswer) ({ id, bytes } = engine.sampleOn());
      owesAnswer = false;
      if (engine.ends.has(id) && sorter.inThought && canClose()) next = close();
      else if (engine.ends.has(id)) {
        counted.answer_tokens += 1;
        sorter.finish();
        yield sorter.take();
        return "done";
      } else {
        take(id, bytes);
        next = [id];
      }
    }
    if (generated >= room) {
      sorter.finish();
      yield sorter.take();
      return "cut";
    }
    engine.feed(next);
    yield sorter.take();
  }
}

/** Whether a prompt leaves room for an answer. */
export function hasRoom(prompt: readonly number[], context: number): boolean {
  return prompt.length + LEAST_ROOM <= context;
}
