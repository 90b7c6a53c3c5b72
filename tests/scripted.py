"""Stand-ins that several tests share: an engine that says what it was told to, a model of random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from denken.chat import template
from denken.engine.sequence import Output
from denken.tokenizer import Tokenizer


class ScriptedStream:
    """An engine that says what it was told to, id by id; remembers prompts, and replies that were closed early.

    further: what it says to later requests, of which the last goes for all that follow. warmed: the ids that were put
    down to be computed ahead.
    """

    def __init__(self, outputs: list[Output], *further: list[Output]):
        self.outputs, self.further, self.prompts, self.params, self.closed = outputs, list(further), [], [], 0
        self.warmed: list[tuple[int, ...]] = []

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def check(self, prompt, params) -> None:
        pass

    def warm(self, make) -> None:
        self.warmed.append(make())

    def generate_sync(self, prompt, params, *, thinking=True) -> Iterator[Output]:
        self.prompts.append((tuple(prompt), thinking))
        self.params.append(params)
        outputs = self.outputs
        if self.further:
            self.outputs = self.further.pop(0)
        try:
            yield from outputs
        finally:
            self.closed += 1

    async def generate(self, prompt, params, *, thinking=True):
        for output in self.generate_sync(prompt, params, thinking=thinking):
            yield output


def script(tokenizer: Tokenizer, thought: str | None, answer: str, reason: str = "stop") -> list[Output]:
    """One id at a time: thought, closing tag, answer, end mark."""
    ids = [] if thought is None else [*tokenizer.encode(thought + "\n"), tokenizer.control(template.END_THINK)]
    ids += tokenizer.encode(("" if thought is None else "\n\n") + answer)
    ids += [tokenizer.control(template.EOS)] if reason == "stop" else []
    outputs = [Output(0, (id_,), (-0.25,), None, 3, (((id_, -0.25), (65, -1.0)),)) for id_ in ids]
    last = outputs.pop()
    return [*outputs, Output(0, last.ids, last.logprobs, reason, 3, last.top_logprobs)]


def write_model(folder: Path, tokenizer: Tokenizer, context: int = 96) -> Path:
    """A network of random weights in a folder, as one that was trained would lie there."""
    import torch

    from denken.model.checkpoint import save
    from denken.model.config import ModelConfig
    from denken.model.transformer import Transformer

    torch.manual_seed(0)
    config = ModelConfig(
        family="llama",
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=context,
    )
    save(Transformer(config), folder)
    shutil.copy(tokenizer.folder / "tokenizer.json", folder)
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.8, "top_k": 5, "do_sample": True}))
    return folder
