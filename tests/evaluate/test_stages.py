"""The table of stages: its cells, its resumption, what it says of models that are not there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from denken.chat.message import Message
from denken.chat.template import render
from denken.errors import ConfigError, UnknownNameError
from denken.evaluate import stages
from denken.evaluate.stages import Stages
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM
from denken.tokenizer import Tokenizer
from denken.types import Completion, SamplingParams

TABLE = """
problems = 4
[[rows]]
name = "base"
model = "run:one"
[[rows]]
name = "final"
model = "run:two"
[[rows]]
name = "never"
model = "run:three"
[[columns]]
name = "sums"
task = "plain:sums"
[[columns]]
name = "letters | more"
task = "plain:letters"
"""


@dataclass
class Oracle:
    """Answers the first `right` of every four problems as they should be."""

    tokenizer: Tokenizer
    right: int
    asked: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def engine(self) -> Oracle:
        return self

    def __call__(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams]
    ) -> list[Completion]:
        self.asked += [tuple(prompt) for prompt in prompts]
        known = {}
        for name in ("plain:sums", "plain:letters"):
            for seed in range(EVALUATION_SEEDS_FROM, EVALUATION_SEEDS_FROM + 4):
                problem = get(name).problem(seed)
                known[render([Message("user", problem.prompt)], self.tokenizer).ids] = problem
        said = []
        for prompt in prompts:
            problem = known[tuple(prompt)]
            answer = problem.answer if problem.seed - EVALUATION_SEEDS_FROM < self.right else "?"
            whole = render([Message("user", ""), Message("assistant", answer, reasoning_content="a b")], self.tokenizer)
            said.append(Completion(tuple(i for i, own in zip(whole.ids, whole.loss_mask, strict=True) if own)))
        return said


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "runs" / name / "model").mkdir(parents=True)
        (tmp_path / "runs" / name / "model/config.json").write_text("{}")
        (tmp_path / "runs" / name / "model/model.safetensors").write_text(name)
    return tmp_path / "runs"


@pytest.fixture
def described(tmp_path: Path) -> Stages:
    (tmp_path / "stages.toml").write_text(TABLE)
    return stages.load(tmp_path / "stages.toml")


def test_a_table_is_measured_and_goes_on(described: Stages, runs: Path, tmp_path: Path, tokenizer: Tokenizer):
    models = {"one": Oracle(tokenizer, 1), "two": Oracle(tokenizer, 3)}
    said: list[str] = []

    @contextmanager
    def opened(place: str) -> Iterator[Oracle]:
        yield models[Path(place).parent.name]

    cells = stages.measure(described, runs, tmp_path / "out", opened, say=said.append, progress=False)
    assert [(cell.row, cell.column, cell.solved.value) for cell in cells] == [
        ("base", "sums", 0.25),
        ("base", "letters | more", 0.25),
        ("final", "sums", 0.75),
        ("final", "letters | more", 0.75),
    ]
    assert all(cell.thought == len(tokenizer.encode("a b")) for cell in cells)
    assert 0 < cells[0].solved.low < 0.25 < cells[0].solved.high < 1
    assert said == [f"The row 'never' is left out: there is no model in {runs / 'three/model'} yet."]
    page = (tmp_path / "out/stages.md").read_text()
    assert "| base | 25.0 (5-70) | 25.0 (5-70) | 25.0 | 3 |" in page
    assert "|  | sums | letters / more | mean | thought |" in page
    assert (tmp_path / "out/stages.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "out/stages.json").read_text())["cells"]) == 4

    for model in models.values():
        model.asked.clear()
    assert stages.measure(described, runs, tmp_path / "out", opened, progress=False) == cells
    assert not models["one"].asked
    (runs / "one/model/model.safetensors").write_text("trained on")
    stages.measure(described, runs, tmp_path / "out", opened, progress=False)
    assert len(models["one"].asked) == 8
    assert not models["two"].asked


def test_a_table_of_nothing_says_so(described: Stages, tmp_path: Path):
    with pytest.raises(ConfigError, match="None of the table's models is there"):
        stages.measure(described, tmp_path / "none", tmp_path / "out", lambda _: pytest.fail("opened"))


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("problems = 4", "problem = 4", ConfigError, "did you mean 'problems'"),
        ('name = "final"', 'name = "base"', ConfigError, "two rows are called 'base'"),
        ('task = "plain:sums"', 'task = "plain:sum"', UnknownNameError, "plain:sums|sums"),
        ('name = "sums"', 'name = ""', ConfigError, "name"),
        ("[[rows]]", "[[row]]", ConfigError, "did you mean 'rows'"),
        ("problems = 4", "problems = ", ConfigError, "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_at_once(
    tmp_path: Path, old: str, new: str, error: type[Exception], message: str
):
    (tmp_path / "stages.toml").write_text(TABLE.replace(old, new))
    with pytest.raises(error, match=message):
        stages.load(tmp_path / "stages.toml")
