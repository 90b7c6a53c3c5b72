"""Sets of conversations: what is read, in which order, what is learnt of it, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from denken.config import Recipe
from denken.errors import ConfigError, UnknownNameError
from denken.tokenizer import Tokenizer
from denken.train.batch import shift
from denken.train.data import documents
from denken.train.folder import complete
from denken.train.jsonl import MOST_BYTES_A_LINE, JsonlSet, provenance, write
from denken.train.pretrain import train

SHAPE = """
[model]
model_type = "qwen3"
vocab_size = {vocab_size}
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 256
tie_word_embeddings = true
[tokenizer]
path = {tokenizer}
"""


def record(number: int, **changes: Any) -> dict[str, Any]:
    answer = {"role": "assistant", "reasoning_content": f"it is {number}", "content": str(number)}
    messages = [{"role": "user", "content": f"What is {number}?"}, answer]
    return {"messages": messages, "task": "plain:sums", "seed": 1000 + number} | changes


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "runs/made/data/made.jsonl"
    assert write(path, (record(number) for number in range(10))) == 10
    return path


def text(tokenizer: Tokenizer, document: Any) -> str:
    return tokenizer.decode(document.ids)


def test_every_conversation_comes_once_an_epoch_in_an_order_of_its_own(ten: Path, tokenizer: Tokenizer):
    data = {"sources": [{"jsonl": str(ten)}]}
    drawn = [text(tokenizer, d) for d in islice(documents(data, tokenizer, seed=1, start=0), 30)]
    epochs = [drawn[at : at + 10] for at in (0, 10, 20)]
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    strided = [text(tokenizer, d) for d in islice(documents(data, tokenizer, seed=1, start=1, stride=3), 9)]
    assert strided == drawn[1::3][:9]
    assert [text(tokenizer, d) for d in islice(documents(data, tokenizer, seed=2, start=0), 10)] != epochs[0]


def test_two_sets_that_weigh_the_same_are_read_as_one(ten: Path, tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path / "few.jsonl", (record(number) for number in (50, 51)))
    data = {"sources": [{"jsonl": str(ten)}, {"jsonl": str(tmp_path / "few.jsonl")}]}
    drawn = Counter(d.source for d in islice(documents(data, tokenizer, seed=1, start=0), 24))
    assert drawn == {"jsonl:made": 20, "jsonl:few": 4}


def test_a_set_beside_a_task_comes_by_weight(ten: Path, tokenizer: Tokenizer):
    data = {"sources": [{"jsonl": str(ten), "weight": 3.0}, {"task": "plain:sums"}], "turns": 0.5}
    drawn = list(islice(documents(data, tokenizer, seed=1, start=0), 200))
    counts = Counter(document.source for document in drawn)
    assert 130 < counts["jsonl:made"] < 170
    assert len({d.ids for d in drawn if d.source == "jsonl:made"}) == 10


def test_only_the_last_answer_is_learnt(ten: Path, tmp_path: Path, tokenizer: Tokenizer):
    earlier = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    write(tmp_path / "long.jsonl", [record(7) | {"messages": earlier + record(7)["messages"]}])
    document = next(documents({"sources": [{"jsonl": str(tmp_path / "long.jsonl")}]}, tokenizer, seed=1, start=0))
    learnt = [id_ for id_, mask in zip(document.ids, document.loss_mask, strict=True) if mask]
    assert tokenizer.decode(learnt).startswith("it is 7\n\n\n7")


def test_an_answer_without_a_thought_is_learnt_as_one_that_was_asked_for(tmp_path: Path, tokenizer: Tokenizer):
    plain = record(7) | {"messages": [{"role": "user", "content": "7?"}, {"role": "assistant", "content": "7"}]}
    write(tmp_path / "plain.jsonl", [plain])
    document = next(documents({"sources": [{"jsonl": str(tmp_path / "plain.jsonl")}]}, tokenizer, seed=1, start=0))
    closer = document.ids.index(tokenizer.control("</think>"))
    assert not any(document.loss_mask[: closer + 1])
    assert any(document.loss_mask)


def broken(change: Callable[[dict[str, Any]], Any]) -> str:
    value = record(3)
    return json.dumps(change(value))


def answer(value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    value["messages"][1] |= changes
    return value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("[]", 'an object with "messages"'),
        ("{}", '"messages" must be a list'),
        ('{"messages": "hello"}', '"messages" must be a list'),
        ('{"messages": [1, 2]}', '"messages" must be a list'),
        (broken(lambda r: r | {"messages": r["messages"][:1]}), "at least a question and an answer"),
        (broken(lambda r: r | {"messages": r["messages"][::-1]}), "the last message must be the assistant's"),
        (broken(lambda r: r | {"messages": [r["messages"][1]] * 2}), 'no message of the role "user"'),
        (broken(lambda r: answer(r, content=" ", reasoning_content="")), "not empty"),
        (broken(lambda r: answer(r, content=5)), "must be text"),
        (broken(lambda r: answer(r, content=None)), "must be text"),
        (broken(lambda r: answer(r, reasoning_content=["a"])), "must be text"),
        (broken(lambda r: answer(r, role="developer")), "role 'developer' is not known"),
        (broken(lambda r: answer(r, role=["assistant"])), "is not known"),
        (broken(lambda r: answer(r, tool_calls=[{"name": "f"}])), "calls of tools"),
        (broken(lambda r: r | {"seed": "7"}), '"seed" is'),
        (broken(lambda r: r | {"seed": True}), '"seed" is'),
        (broken(lambda r: r | {"seed": 900_000_000}), "problem 900000000 of plain:sums, which is kept for evaluation"),
        (broken(lambda r: r | {"seed": 45}), "kept for evaluation"),
        (broken(lambda r: r | {"seed": -1}), "kept for evaluation"),
        ('{"a": "' + "x" * MOST_BYTES_A_LINE + '"}', "longer than 4 MiB"),
    ],
)
def test_what_cannot_be_learnt_from_is_named_with_its_line(tmp_path: Path, line: str, message: str):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(record(1)) + "\n\n" + line + "\n")
    with pytest.raises(ConfigError) as caught:
        JsonlSet(path)
    assert "line 3" in str(caught.value)
    assert message in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"messages": "\xff\xfe"}\n')
    with pytest.raises(ConfigError, match="line 1: this is not JSON"):
        JsonlSet(path)


def test_an_empty_set_and_none_are_refused(tmp_path: Path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ConfigError, match="holds no conversations"):
        JsonlSet(tmp_path / "empty.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        JsonlSet(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "either task or jsonl"),
        ({"task": "chain_sum", "jsonl": "x"}, "either task or jsonl"),
        ({"jsonl": "x", "config": {"a": 1}}, "config belongs to a task"),
        ({"josnl": "x"}, "did you mean 'jsonl'"),
    ],
)
def test_a_source_is_one_thing(source: dict[str, Any], message: str, tokenizer: Tokenizer):
    with pytest.raises(ConfigError, match=message):
        documents({"sources": [source]}, tokenizer, seed=1, start=0)


def test_control_strings_in_a_set_stay_text(tmp_path: Path, tokenizer: Tokenizer):
    write(
        tmp_path / "set.jsonl",
        [answer(record(1), content="</think><｜User｜>\ud800".encode("utf-8", "ignore").decode())],
    )
    document = next(documents({"sources": [{"jsonl": str(tmp_path / "set.jsonl")}]}, tokenizer, seed=1, start=0))
    assert document.ids.count(tokenizer.control("</think>")) == 1
    assert document.ids.count(tokenizer.control("<｜User｜>")) == 1


def recipe(tmp_path: Path, tokenizer_folder: Path, data: str, budget: str) -> Path:
    shape = SHAPE.format(
        vocab_size=Tokenizer.load(tokenizer_folder).vocab_size, tokenizer=json.dumps(str(tokenizer_folder))
    )
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'name = "second"\n{shape}\n[data]\nwidths = [64]\n{data}\n[train]\n{budget}\nbatch_tokens = 128\n'
        "micro_tokens = 64\nthreads = 1\nlog_every = 1\n"
    )
    return path


def test_epochs_become_steps_and_a_run_reads_another_runs_set(
    tmp_path: Path, tokenizer_folder: Path, tokenizer: Tokenizer
):
    made = tmp_path / "runs/made/data/made.jsonl"
    write(made, (record(number) for number in range(100)))
    once = islice(documents({"sources": [{"jsonl": str(made)}]}, tokenizer, seed=1, start=0), 100)
    positions = sum(len(shift(document)[0]) for document in once)
    path = recipe(tmp_path, tokenizer_folder, 'sources = [{ jsonl = "run:made" }]', "epochs = 2")
    whole = complete(Recipe.load(path), tmp_path, tmp_path / "runs/second")
    run = train(path, run_dir=tmp_path / "runs/second")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == whole.train.total_steps > 2
    assert lines[-1]["tokens"] == pytest.approx(2 * positions, rel=0.1)
    assert set(lines[-1]["losses"]) == {"jsonl:made"}


def test_epochs_of_what_has_no_end_are_refused(ten: Path, tmp_path: Path, tokenizer_folder: Path):
    path = recipe(tmp_path, tokenizer_folder, 'sources = [{ task = "plain:sums" }]', "epochs = 2")
    with pytest.raises(ConfigError, match="epochs are counted over sets"):
        complete(Recipe.load(path), tmp_path, tmp_path / "runs/second")


def test_a_set_that_is_not_made_yet_is_named(ten: Path, tmp_path: Path, tokenizer_folder: Path):
    path = recipe(tmp_path, tokenizer_folder, 'sources = [{ jsonl = "run:mad" }]', "steps = 2")
    with pytest.raises(UnknownNameError, match="did you mean 'run:made'"):
        complete(Recipe.load(path), tmp_path, tmp_path / "runs/second")


def test_provenance_stands_beside_the_set(ten: Path):
    provenance(ten, "Made", [("model", "bundled")], {"rejected": {"wrong": 3}})
    page = ten.with_suffix(".md").read_text()
    assert "- model: bundled" in page
    assert "| wrong | 3 |" in page
    assert "SHA-256" in page
