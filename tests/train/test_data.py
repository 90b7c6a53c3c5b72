"""The stream of documents: a pure function of mixture, seed and index, and never of the benchmark's problems."""

from itertools import islice
from pathlib import Path

import pytest

import denken
from denken.errors import ConfigError, UnknownNameError
from denken.tasks.base import training_seed_allowed
from denken.tokenizer import Tokenizer
from denken.train.data import Drawer, Mixture, documents

BUNDLED = Path(denken.__file__).parent / "bundled"
DATA = {
    "turns": 0.5,
    "sources": [
        {"task": "chain_sum", "weight": 2.0, "config": {"max_digits": 2}},
        {"task": "plain:letters"},
        {"task": "smalltalk:talk", "first": 10},
        {"task": "gcd", "last": 10},
    ],
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(BUNDLED)


def test_a_document_depends_on_its_index_alone(tokenizer: Tokenizer) -> None:
    whole = list(islice(documents(DATA, tokenizer, seed=1, start=0), 60))
    strided = list(islice(documents(DATA, tokenizer, seed=1, start=1, stride=3), 19))
    assert strided == whole[1::3][:19]
    assert list(islice(documents(DATA, tokenizer, seed=2, start=0), 60)) != whole


def test_sources_open_and_close(tokenizer: Tokenizer) -> None:
    sources = [document.source for document in islice(documents(DATA, tokenizer, seed=1, start=0), 200)]
    assert "smalltalk:talk" not in sources[:10]
    assert "smalltalk:talk" in sources[10:]
    assert "gcd" not in sources[10:]


def test_only_the_last_answer_is_learnt(tokenizer: Tokenizer) -> None:
    for document in islice(documents(DATA, tokenizer, seed=3, start=0), 60):
        assert len(document.ids) == len(document.loss_mask)
        first = document.loss_mask.index(True)
        assert all(document.loss_mask[first:])
        assert document.ids[-1] == tokenizer.control("<｜end▁of▁sentence｜>")
        assert tokenizer.control("<think>") in document.ids[:first]


def test_evaluation_seeds_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = Drawer(Mixture.model_validate(DATA), seed=1)
    seeds: list[int] = []
    for task in drawer.tasks.values():
        draw = task.problem
        monkeypatch.setattr(task, "problem", lambda seed, draw=draw: (seeds.append(seed), draw(seed))[1])
    monkeypatch.setattr("denken.train.data.EVALUATION_SEEDS_FROM", 100)
    for index in range(300):
        drawer.conversation(index)
    assert len(seeds) >= 300
    assert max(seeds) < 100
    assert all(map(training_seed_allowed, seeds))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sources": []}, "sources"),
        ({"sources": [{"task": "chain_sum", "wieght": 1}]}, r"'sources\.0\.wieght'; did you mean 'weight'"),
        ({"sources": [{"task": "chain_sum"}], "turn": 0.5}, "'turn'; did you mean 'turns'"),
        ({"sources": [{"task": "chain_sum"}], "widht": 64}, "'widht'; did you mean 'widths'"),
        ({"sources": [{"task": "plain:sums", "config": {"max_digits": 2}}]}, "plain:sums has no setting 'max_digits'"),
        ({"sources": [{"task": "chain_sum", "weight": -1}]}, "weight"),
        ({"sources": [{"task": "zebra_puzzles"}]}, "no trace writer"),
    ],
)
def test_a_mixture_that_cannot_be_used_says_why(data: dict[str, object], message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=message):
        documents(data, tokenizer, seed=1, start=0)


def test_an_unknown_task_names_the_nearest(tokenizer: Tokenizer) -> None:
    with pytest.raises(UnknownNameError, match="chain_sum"):
        documents({"sources": [{"task": "chain_sums"}]}, tokenizer, seed=1, start=0)


def test_a_search_is_offered_where_one_is_made_and_to_a_share_of_the_rest(tokenizer: Tokenizer) -> None:
    data = {"offered": 0.5, "systems": 0.3, "sources": [{"task": "search_qa"}, {"task": "plain:sums"}]}
    search, found = tokenizer.control("<search>"), tokenizer.control("<information>")
    offered = {"search_qa": 0, "plain:sums": 0}
    drawn = list(islice(documents(data, tokenizer, seed=1, start=0), 200))
    for document in drawn:
        first = document.loss_mask.index(True)
        offered[document.source] += search in document.ids[:first]
        if document.source == "search_qa":
            at = document.ids.index(found)
            end = document.ids.index(tokenizer.control("</information>"))
            assert not any(document.loss_mask[at : end + 2])
            assert document.loss_mask[end + 2]
    assert offered["search_qa"] == sum(document.source == "search_qa" for document in drawn)
    assert 20 < offered["plain:sums"] < 80
