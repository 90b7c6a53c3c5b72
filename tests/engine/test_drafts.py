"""A network's own layer says what follows the next id, as if it had read the whole text; nothing else changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import tiny_model
from torch import Tensor

from denken.engine.engine import Engine
from denken.engine.sequence import Endings, Sequence
from denken.engine.speculate import FIRST, LATER, Speculation
from denken.errors import CheckpointError
from denken.model import checkpoint, mtp
from denken.model.attention import Causal
from denken.model.mtp import MultiTokenPrediction
from denken.model.transformer import Transformer
from denken.types import SamplingParams

FAMILIES = ("qwen3", "deepseek_v3")
GREEDY = SamplingParams(temperature=0, max_tokens=24)


class Listening(Speculation):
    """Guesses what the layer says, however often it was wrong, and notes at which text it said what."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.deep = depth
        self.heard: list[tuple[list[int], tuple[int, ...]]] = []

    def depth(self, running: int) -> int:
        return self.deep

    def guess(self, sequence: Sequence, room: int, running: int) -> tuple[int, ...]:
        self.heard.append((list(sequence.ids), sequence.surmise))
        return sequence.surmise[: min(room, sequence.limit - sequence.generated - 1)]


def layer_of(model: Transformer, seed: int = 5) -> MultiTokenPrediction:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = MultiTokenPrediction(model.config)
        for parameter in layer.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return layer.eval()


def engine(model: Transformer, speculation: Speculation | None = None, **options: object) -> Engine:
    settings = {"cache_tokens": 2048, "block_size": 4, **options}
    return Engine(model, eos_ids=[1], speculation=speculation, **settings)  # type: ignore[arg-type]


@torch.inference_mode()
def said_ahead(model: Transformer, layer: MultiTokenPrediction, text: list[int], depth: int) -> tuple[int, ...]:
    """What the layer says after a text, read at once: each id as the likeliest after those that it said before."""
    hidden_1TM = model.hidden(torch.tensor([text]))
    said: list[int] = []
    known_1TM = hidden_1TM[:, :-1]
    for _ in range(depth):
        following = torch.tensor([[*text[1:], *said]])
        angles = model.rotary(torch.arange(known_1TM.shape[1])[None])
        out_1TM = layer.hidden(known_1TM, model.model["embed_tokens"](following), angles, Causal())
        said.append(int(model.logits(layer.normed(out_1TM[0, -1])).argmax()))
        known_1TM = torch.cat((known_1TM, out_1TM[:, -1:]), dim=1)
    return tuple(said)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"max_batch_tokens": 5}, {"cache_tokens": 128}], ids=str)
def test_it_says_what_it_would_say_of_the_whole_text(family: str, options: dict[str, int]) -> None:
    model = tiny_model(family)
    layer, listening = layer_of(model), Listening()
    subject = engine(model, listening, layer=layer, **options)
    questions = [[7, 9, 11, 4, 5], [3], [8, 9, 11, 4, 6, 8, 20, 21, 22, 5]]
    subject(questions, GREEDY)
    # What it said of earlier texts is found in the cache, up to the last whole block.
    subject([[*questions[2], 40, 41]], GREEDY)
    heard = [(text, said) for text, said in listening.heard if said]
    assert len(heard) > 30
    assert {len(said) for _, said in heard} >= {2, 3}
    assert all(said == said_ahead(model, layer, text, len(said)) for text, said in heard)


def test_a_block_that_two_texts_share_was_read_for_the_first() -> None:
    """Its last id was followed by another there: what is said of the second is a little beside, and still said."""
    model = tiny_model("qwen3")
    listening = Listening()
    subject = engine(model, listening, layer=layer_of(model))
    subject([[7, 9, 11, 4, 5]], GREEDY)
    listening.heard.clear()
    subject([[7, 9, 11, 4, 6]], GREEDY)
    assert any(said for _, said in listening.heard)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_changes_nothing_that_is_said(family: str) -> None:
    model = tiny_model(family)
    questions = [[5 + i, 9, 2 + i % 3, *range(3, 3 + i)] for i in range(10)]
    kinds = [{"temperature": 0}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 0.8, "frequency_penalty": 0.5}]
    params = [SamplingParams(max_tokens=10 + 2 * i, seed=i, **kinds[i % 3]) for i in range(10)]  # type: ignore[arg-type]
    plain = engine(model)(questions, params)
    listening = Listening()
    for _ in range(2):
        guessed = engine(model, listening, layer=layer_of(model))(questions, params)
        assert [each.ids for each in guessed] == [each.ids for each in plain]
    assert listening.guessed > 100


def test_texts_end_with_the_usual_guesses_too() -> None:
    model = tiny_model("qwen3")
    subject = engine(model, Speculation(), layer=layer_of(model))
    questions = [[5, 9, 7], [3, 4], [8]]
    said = subject(questions, GREEDY)
    assert [each.ids for each in said] == [each.ids for each in engine(model)(questions, GREEDY)]
    assert not subject.has_work


def test_a_layer_that_is_right_saves_steps() -> None:
    """The layer of a network without attention's part: what follows hangs on the last id alone, and so does its own."""
    model = tiny_model("qwen3")
    with torch.no_grad():
        for block in model.blocks:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        layer = layer_of(model)
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        # Of what it joins it takes the embedding of the next id, which is all that the network goes by.
        size = model.config.hidden_size
        layer.eh_proj.weight.copy_(torch.cat((torch.eye(size), torch.zeros(size, size)), dim=1))
    listening = Listening()
    subject = engine(model, listening, layer=layer)
    request = subject.add([5, 9, 7], GREEDY)
    steps, ids = 0, []
    while subject.has_work:
        ids += [id for output in subject.step() for id in output.ids]
        steps += 1
    assert request == 0
    assert tuple(ids) == engine(model)([[5, 9, 7]], GREEDY)[0].ids
    assert steps <= 2 + len(ids) // 3
    assert listening.accepted == listening.guessed


@pytest.mark.parametrize("seconds", [0.011, 0.03])
def test_it_rests_where_more_is_said_without_it_and_is_tried_again(seconds: float) -> None:
    """A step of 10 ms says an id without the layer, and two with it."""
    speculation = Speculation()
    sequence = Sequence(0, [5, 6, 7], GREEDY, 10, Endings(frozenset()), 0)
    asked = []
    for _ in range(2 * Speculation.TURN):
        asked.append(speculation.depth(1) > 0)
        speculation.checked(sequence, [8, 9][: 1 + asked[-1]], int(asked[-1]), int(asked[-1]), [])
        speculation.took([(1 + asked[-1], seconds if asked[-1] else 0.010)])
    trial = Speculation.TRIAL
    for turn in (asked[: Speculation.TURN], asked[Speculation.TURN :]):
        assert any(turn[:trial])
        assert not any(turn[trial : 2 * trial])
        assert set(turn[2 * trial :]) == {seconds < 0.02}
    assert speculation.depth(Speculation.CROWD + 1) == 0


def test_it_goes_as_deep_as_it_was_right() -> None:
    speculation = Speculation()
    for _ in range(40):
        speculation.took([(1, 0.010)])
        speculation.took([(4, 0.013)])
    for _ in range(300):
        speculation._guesses.count(FIRST, False)
    assert speculation.depth(1) == 1
    for kind in (FIRST, LATER):
        for _ in range(600):
            speculation._guesses.count(kind, True)
    assert speculation.depth(1) == Speculation.DEEPEST


def test_what_was_not_read_is_nothing_and_not_another_texts() -> None:
    model = tiny_model("qwen3")
    layer, listening = layer_of(model), Listening()
    # So few blocks that the second text takes those of the first.
    subject = engine(model, listening, layer=layer, cache_tokens=48, prefix_reuse=False)
    subject([[7, 9, 11, 4, 6, 8, 20, 21, 30]], GREEDY)
    drafts = subject._runner.drafts  # type: ignore[union-attr]
    assert drafts is not None
    assert all(tensor.count_nonzero() for tensor in (*drafts.store.keys, *drafts.store.values))
    listening.deep = 0
    subject([[9, 7] * 11], dataclasses.replace(GREEDY, max_tokens=26))
    assert not any(tensor.count_nonzero() for tensor in (*drafts.store.keys, *drafts.store.values))
    listening.heard.clear()
    listening.deep = 2
    subject([[9, 7] * 9], GREEDY)
    assert any(said for _, said in listening.heard)
    subject.weights_changed()
    assert not any(tensor.count_nonzero() for tensor in (*drafts.store.keys, *drafts.store.values))


def test_a_text_is_guessed_again_after_a_rest() -> None:
    model = tiny_model("qwen3")
    listening = Listening()
    subject = engine(model, listening, layer=layer_of(model))
    subject.add([5, 9, 7], dataclasses.replace(GREEDY, max_tokens=40))
    for deep in (2, 0, 2):
        listening.deep = deep
        listening.heard.clear()
        for _ in range(5):
            subject.step()
        assert not deep or all(said for _, said in listening.heard[1:])


def _with_layer(folder: Path, model: Transformer, layer: MultiTokenPrediction) -> None:
    checkpoint.save(model, folder)
    tensors = load_file(folder / checkpoint.SINGLE)
    prefix = f"model.layers.{model.config.num_hidden_layers}."
    tensors |= {prefix + name: tensor.detach() for name, tensor in layer.state_dict().items()}
    # DeepSeek's files repeat the embedding and the head there.
    tensors[f"{prefix}embed_tokens.weight"] = model.model["embed_tokens"].weight.detach().clone()
    tensors[f"{prefix}shared_head.head.weight"] = model.head_weight.detach().clone()
    save_file(tensors, folder / checkpoint.SINGLE)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 1}), "utf-8")


def test_it_is_read_from_behind_the_last_layer(tmp_path: Path) -> None:
    model = tiny_model("deepseek_v3")
    layer = layer_of(model)
    _with_layer(tmp_path, model, layer)
    loaded = mtp.load(tmp_path, torch.float32)
    assert loaded is not None
    state: dict[str, Tensor] = loaded.state_dict()
    assert state.keys() == layer.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in layer.state_dict().items())
    assert mtp.load(tmp_path, torch.bfloat16).eh_proj.weight.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert checkpoint.load(tmp_path).state_dict().keys() == model.state_dict().keys()


def test_no_layer_and_a_wrong_one(tmp_path: Path) -> None:
    model = tiny_model("deepseek_v3")
    checkpoint.save(model, tmp_path)
    assert mtp.load(tmp_path, torch.float32) is None
    _with_layer(tmp_path, model, layer_of(model))
    tensors = load_file(tmp_path / checkpoint.SINGLE)
    name = "model.layers.2.eh_proj.weight"
    save_file(tensors | {name: tensors[name][:, 1:].contiguous()}, tmp_path / checkpoint.SINGLE)
    with pytest.raises(CheckpointError, match="eh_proj"):
        mtp.load(tmp_path, torch.float32)
    del tensors[name]
    save_file(tensors, tmp_path / checkpoint.SINGLE)
    assert mtp.load(tmp_path, torch.float32) is None
