"""A model made better at one task, by a task, a model and a time: `denken train --task clock.py --minutes 10`.

What happens, in the run's folder, whose parts are ordinary recipes and runs that can be read, changed and run again:

    before/       how the model does on problems that are kept for evaluation, greedily and sampled
    01_worked/    learning from worked solutions, where the task has them (`demonstrate`, or rows with a "thought");
                  where the model never samples a right answer and there are none, from the right answers alone
    worked/       the same measure again
    02_rewards/   GRPO
    after/        and again
    model/        the result; report.md has the table

A stage that has nothing to do is left out: worked solutions for a model that is good already, rewards for one that is
always right. Nor can rewards begin where no sampled answer is right; it says so, and what to do. The same command goes
on with a run that was stopped. How much of everything is `defaults`' business.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from denken import tasks
from denken.config import Recipe
from denken.engine.engine import Engine
from denken.errors import ConfigError, DenkenError
from denken.evaluate import evaluate
from denken.evaluate.report import verdict
from denken.evaluate.runner import Result
from denken.model import checkpoint as exported
from denken.model.adapters import Adapter, joined, layers_of
from denken.model.transformer import Transformer
from denken.rollout import lookup_of, prompt_ids
from denken.tasks.base import EVALUATION_SEEDS_FROM, Task, Traced, training_seed_allowed
from denken.tasks.dataset import JsonlTask
from denken.tokenizer import Tokenizer
from denken.train import defaults, jsonl, run
from denken.train.data import Drawer, Mixture, to_document
from denken.train.folder import model_folder, only_one, refuse_quantised, resolve_weights
from denken.train.grpo import GRPO, _eos_ids
from denken.train.lora import base_name
from denken.train.pipeline import Stage
from denken.train.pipeline import finished as steps_are_done
from denken.train.pretrain import Trainer
from denken.train.timing import cores, seconds_a_step

HELD_OUT = 0.2  # of a file's questions
SEEN_ANSWERS = 2_000  # how many right answers are learnt from where nothing is worked out
GOOD, PERFECT = 0.9, 0.98
# Shares of the time: worked solutions, rewards, each of the three measures.
WORKED, REWARDS, MEASURE = 0.4, 0.45, 0.05
MOST_PROBLEMS, SAMPLED_PROBLEMS, SAMPLES = 200, 50, 4
ROOM = 1.6  # how much longer than what was seen a sample may become


@dataclass(frozen=True, slots=True)
class Measured:
    """How a model does: its likeliest answers, and samples of it at temperature 1.

    longest: the longest whole sample, in ids. same: the share of problems whose samples all had one reward.
    """

    greedy: Result
    sampled: Result
    longest: int
    same: float


@dataclass(frozen=True, slots=True)
class Own:
    """What was asked for, as the run's folder keeps it."""

    task: str
    model: str
    minutes: float
    lora: int | None
    seed: int


class Stopped(Exception):
    """Somebody asked to stop; the same command goes on."""


def train(
    task: str,
    model: str = "bundled",
    *,
    minutes: float = 10.0,
    out: Path | None = None,
    runs: Path | None = None,
    lora: int | None = None,
    seed: int = 1,
    console: Console | None = None,
) -> Path | None:
    """Make the model better at the task and return the run's folder; None when somebody asked to stop.

    task: any name that `denken.tasks.get` takes, a .py or .jsonl file of your own among them.
    out: the run's folder; that of the task's name in `runs` ("runs") where it is None. lora: the rank of adapters.
    Raises UnknownNameError and ConfigError for what cannot be used, DenkenError where there is nothing to learn from.
    """
    console = console or Console(stderr=True, highlight=False)
    if not minutes > 0:
        raise ConfigError(f"{minutes:g} minutes is no time to learn in; give more than 0.")
    if "RANK" in os.environ:
        raise ConfigError("denken train --task starts its own processes; run it without torchrun.")
    own = Own(_absolute(task), _absolute(model), minutes, lora, seed)
    _load(own.task)  # that there are such a task and such a model is checked before anything is written
    model_folder(resolve_weights(own.model, Path(), Path("runs/new")))
    folder = out or (runs or Path("runs")) / re.sub(r"[^\w.-]+", "-", Path(task).stem if _is_file(task) else task)
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        own = _same_as_before(own, folder)
        try:
            _Flow(own, folder, console).go()
        except Stopped:
            console.print(f"Stopped and saved in {folder}; the same command goes on.", markup=False)
            return None
    return folder


class _Flow:
    """The stages of one run, each of which is skipped where its work is done."""

    def __init__(self, own: Own, folder: Path, console: Console) -> None:
        self.own, self.folder, self.console = own, folder, console
        self.name = _kept(own.task, folder, console)
        self.config = {"held_out": HELD_OUT} if self.name.endswith(".jsonl") else {}
        self.task = tasks.get(self.name, self.config)
        start = model_folder(resolve_weights(own.model, Path(), folder))
        refuse_quantised(start)
        self.tokenizer = Tokenizer.load(start)
        config = exported.read_config(start)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in Transformer(config).parameters())
        self.setting = defaults.Setting(
            start=str(start),
            parameters=parameters,
            context=config.max_position_embeddings,
            cores=cores(),
            bf16=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
            seed=own.seed,
            lora=own.lora,
        )
        self.seconds = 60.0 * own.minutes
        self.rows: list[tuple[str, Measured]] = []

    def go(self) -> None:
        before = self.measure("before", Path(self.setting.start))
        now, at = before, Path(self.setting.start)
        source = self.worked_source(before)
        if source is not None:
            at = self.learn_worked(source)
            now = self.measure("worked", at)
        if now.sampled.score == 0:
            self.without_success(now, learnt=source is not None)
        elif now.sampled.solved.value < PERFECT:
            at = self.learn_rewards(now, at, alone=source is None)
            self.measure("after", at)
        _put(at, self.folder / "model")
        if self.own.lora is not None:
            self.put_adapter()
        self.report()

    def measure(self, label: str, weights: Path) -> Measured:
        """Evaluate weights; what has been answered already is read back."""
        self.say(f"Measuring ({label}): problems that are never learnt from.")
        place = self.folder / label
        network = exported.load(weights, dtype=torch.float32 if self.setting.small else None).eval()
        torch.set_num_threads(self.setting.cores)
        engine = Engine(network, eos_ids=_eos_ids(self.tokenizer), tokenizer=self.tokenizer, ahead=True)
        limit = self.longest_answer()
        counts = self.counts(engine, limit)
        results: list[Result] = []
        for name, problems, samples, temperature in (
            ("greedy", counts["greedy"], 1, 0.0),
            ("sampled", counts["sampled"], SAMPLES, 1.0),
        ):
            results += evaluate(
                engine,
                self.tokenizer,
                [self.task],
                problems=problems,
                samples=samples,
                params=_params(temperature, limit, self.own.seed),
                transcripts=place / f"{name}.jsonl",
                progress=self.console.is_terminal,
            )
        longest, same = _samples_of(place / "sampled.jsonl", limit)
        measured = Measured(results[0], results[1], longest, same)
        self.rows.append((label, measured))
        self.say(
            f"  {measured.greedy.solved.value:.0%} right greedily, {measured.sampled.solved.value:.1%} when sampled."
        )
        return measured

    def longest_answer(self) -> int:
        """The most ids of an answer: what worked solutions take and some more, else what small contexts allow."""
        room = self.setting.context - self.longest_prompt() - 1
        if room < 16:
            raise ConfigError(
                f"The task's prompts leave {room} of the model's {self.setting.context} tokens for an answer; shorten "
                "them, or take a model with a larger context."
            )
        worked = [len(self.tokenizer.encode(shown.thought + shown.answer)) for _, shown in self.examples(64)]
        usual = round(ROOM * max(worked)) + 16 if worked else 384
        return min(room, max(64, usual))

    def longest_prompt(self) -> int:
        seeds = [*range(64), *range(EVALUATION_SEEDS_FROM, EVALUATION_SEEDS_FROM + 64)]
        return max(len(self.asked(seed)) for seed in seeds)

    def asked(self, seed: int) -> tuple[int, ...]:
        """A problem as the model is asked it."""
        problem = self.task.problem(seed)
        return prompt_ids(problem, self.tokenizer, searching=lookup_of(self.task, problem) is not None)

    def counts(self, engine: Engine, limit: int) -> dict[str, int]:
        """How many problems each measure takes: as many as the time allows, the same number every time."""
        path = self.folder / "counts.json"
        if not path.exists():
            trial = [self.asked(seed) for seed in range(32)]
            engine(trial[:1], _params(1.0, 4, 0))  # what happens once is not counted
            started = time.monotonic()
            engine(trial, _params(1.0, limit, 0))
            each = (time.monotonic() - started) / len(trial)
            affordable = MEASURE * self.seconds / max(1e-6, each) / 2
            least = (64, 24) if self.setting.small else (16, 8)
            counts = {
                "greedy": int(min(MOST_PROBLEMS, max(least[0], affordable))),
                "sampled": int(min(SAMPLED_PROBLEMS, max(least[1], affordable / SAMPLES))),
            }
            path.write_text(json.dumps(counts), encoding="utf-8")
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def examples(self, count: int) -> list[tuple[Any, Any]]:
        """Some worked solutions of the task, where it has any."""
        if isinstance(self.task, JsonlTask):
            return self.task.worked()[:count]
        if not isinstance(self.task, Traced):
            return []
        problems = [self.task.problem(seed) for seed in range(1_000, 1_000 + count)]
        return [(problem, self.task.demonstrate(problem)) for problem in problems]

    def worked_source(self, before: Measured) -> dict[str, Any] | None:
        """What is read before rewards: worked solutions, right answers where nothing else helps, or nothing."""
        if before.greedy.solved.value >= GOOD:
            self.say(f"It is good already (at least {GOOD:.0%} right): no worked solutions, rewards only.")
            return None
        if isinstance(self.task, JsonlTask):
            worked = self.task.worked()
            if worked:
                self.say(f"First it learns from {len(worked)} worked solutions.")
                return self.set_of((problem.prompt, shown.thought, shown.answer) for problem, shown in worked)
        elif isinstance(self.task, Traced):
            self.say("First it learns from worked solutions of the task.")
            return {"task": self.name, **({"config": self.config} if self.config else {})}
        if before.sampled.score > 0:
            return None
        known = self.known_answers()
        if not known:
            return None
        self.say(
            f"None of {before.sampled.problems * SAMPLES} sampled answers was right, and the task shows no worked "
            f"solutions, so that rewards could not begin. First it learns {len(known)} right answers without their "
            'reasons. Worked solutions would teach far more: a method demonstrate(problem), or rows with a "thought".'
        )
        return self.set_of(known)

    def known_answers(self) -> list[tuple[str, str, str]]:
        """Questions and their right answers, as the task knows them; the thought is the answer itself."""
        if isinstance(self.task, JsonlTask):
            problems = self.task.learnt()
        else:
            rng = Random(f"{self.own.seed}:answers")
            drawn = (rng.randrange(EVALUATION_SEEDS_FROM) for _ in range(SEEN_ANSWERS))
            problems = [self.task.problem(seed) for seed in drawn if training_seed_allowed(seed)]
        seen = {problem.prompt: problem.answer for problem in problems if problem.answer.strip()}
        return [(prompt, answer, answer) for prompt, answer in seen.items()]

    def set_of(self, shown: Any) -> dict[str, Any]:
        """A set of conversations in the run's folder, as a source of [data]."""
        path = self.folder / "worked.jsonl"
        jsonl.write(
            path,
            (
                {
                    "messages": [
                        {"role": "user", "content": prompt},
                        {"role": "assistant", "reasoning_content": thought, "content": answer},
                    ],
                    "task": self.task.name,
                }
                for prompt, thought, answer in shown
            ),
        )
        return {"jsonl": str(path.absolute())}

    def learn_worked(self, source: Mapping[str, Any]) -> Path:
        """The stage 01_worked; returns its weights."""
        folder = self.folder / "01_worked"
        if not (folder / "recipe.toml").exists():
            drawer = Drawer(Mixture.model_validate({"sources": [source]}), self.own.seed)
            documents = [to_document(drawer.conversation(i), self.tokenizer) for i in range(64)]
            longest = max(len(document.ids) for document in documents)
            budget = WORKED * self.seconds
            make = lambda steps, batch, minutes: defaults.worked_recipe(  # noqa: E731
                self.setting, source, longest=longest, steps=steps, batch_tokens=batch, minutes=minutes
            )
            # Processes work side by side: a step of all takes as long as one process's share of it.
            took = seconds_a_step(make(3, 2048, None), folder, Trainer)
            batch = 2048 * self.setting.processes
            size = defaults.batch_tokens_for(batch / took, budget, self.setting)
            steps = max(2, int(budget / (took * size / batch)))
            _write(make(steps, size, 1.3 * budget / 60), folder, "Worked solutions, before rewards.")
        return self.run(folder)

    def learn_rewards(self, now: Measured, weights: Path, *, alone: bool) -> Path:
        """The stage 02_rewards; returns its weights."""
        folder = self.folder / "02_rewards"
        if not (folder / "recipe.toml").exists():
            room = self.setting.context - self.longest_prompt() - 1
            max_tokens = min(room, max(32, round(ROOM * now.longest)))
            budget = (REWARDS + WORKED * alone) * self.seconds
            entry = {"task": self.name, **({"config": self.config} if self.config else {})}
            make = lambda steps, problems, minutes: defaults.rewards_recipe(  # noqa: E731
                self.setting,
                entry,
                start=str(weights.absolute()),
                steps=steps,
                problems=problems,
                max_tokens=max_tokens,
                dynamic=now.same > 0.5,
                minutes=minutes,
            )
            problems = defaults.problems_a_step(self.setting)
            alone_problems = max(1, problems // self.setting.processes)
            took = seconds_a_step(make(3, alone_problems, None), folder, GRPO)
            chosen = defaults.problems_for(took, problems, budget, self.setting)
            steps = max(2, int(budget / (took * chosen / problems)))
            _write(make(steps, chosen, 1.1 * budget / 60), folder, "Rewards: GRPO from the weights that are there.")
        return self.run(folder)

    def without_success(self, now: Measured, *, learnt: bool) -> None:
        """Say that rewards cannot begin, and what to do; an error where nothing else was learnt either."""
        text = (
            f"None of {now.sampled.problems * SAMPLES} sampled answers to {self.task.name} was right, so rewards have "
            "nothing to tell apart and learning from them cannot begin. "
        )
        if learnt:
            self.say(text + "Give more --minutes to the worked solutions, show more of them, or make problems easier.")
            return
        raise DenkenError(
            text
            + 'Show worked solutions (a method demonstrate(problem) in the task\'s class, or a "thought" in rows of '
            "a file), or make the problems easier (smaller numbers, fewer steps) and go on to harder ones from there. "
            f"{self.folder / 'before'} has what the model answered."
        )

    def run(self, folder: Path) -> Path:
        path = folder / "recipe.toml"
        if not _finished(folder):
            self.say(f"{folder.name}: about {Recipe.load(path).train.minutes or 0:.1f} minutes at most, see {path}.")
            run(path, run_dir=folder)
            if not _finished(folder):
                raise Stopped
        return folder / "model"

    def put_adapter(self) -> None:
        """What the stages have changed, one after the other, as one adapter over the model that was given."""
        start = Path(self.setting.start)
        layers = layers_of(exported.blank(exported.read_config(start)))
        stages = (self.folder / name / "adapter" for name in ("01_worked", "02_rewards"))
        learnt = [Adapter.open(stage, layers, start) for stage in stages if stage.is_dir()]
        if learnt:
            joined(learnt, self.folder / "adapter", base_name(start))

    def report(self) -> None:
        """The table, on the terminal and in report.md and results.json."""
        header = ["", "greedy", "95 %", "sampled", "95 %", "tokens", "cut"]
        rows = [[label, *_figures(measured.greedy), *_figures(measured.sampled), *_lengths(measured.sampled)]
                for label, measured in self.rows]  # fmt: skip
        greedy = self.rows[0][1].greedy
        about = (
            f"{self.task.name}: {greedy.problems} problems that were never learnt from, answered greedily, and "
            f"{self.rows[0][1].sampled.problems} of them {SAMPLES} times at temperature 1."
        )
        table = Table(title=about)
        for name in header:
            table.add_column(name, justify="right" if name else "left")
        for row in rows:
            table.add_row(*row)
        Console(width=None if self.console.is_terminal else 120, stderr=True).print(table)
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
        text = f"# {self.task.name}\n\n{about}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
        (self.folder / "report.md").write_text(text, encoding="utf-8")
        values = {label: {"greedy": asdict(each.greedy), "sampled": asdict(each.sampled)} for label, each in self.rows}
        (self.folder / "results.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
        first, last = greedy.solved, self.rows[-1][1].greedy.solved
        self.say(verdict(first, last))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _load(name: str) -> Task:
    return tasks.get(name, {"held_out": HELD_OUT} if name.endswith(".jsonl") else None)


def _same_as_before(own: Own, folder: Path) -> Own:
    """Keeps what was asked for, or checks that it is what the folder's run was begun with."""
    path = folder / "own.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        for name, value in asdict(own).items():
            if before.get(name) != value:
                raise ConfigError(
                    f"{folder} holds a run with {name} {before.get(name)}, not {value}; name another folder by --out, "
                    "or give what it was begun with to go on."
                )
    else:
        path.write_text(json.dumps(asdict(own), indent=1), encoding="utf-8")
    return own


def _kept(name: str, folder: Path, console: Console) -> str:
    """A copy of a task's file in the run's folder, so that the run stays what it is when the file changes.

    A file that needs its neighbours is used where it is.
    """
    if not _is_file(name):
        return name
    path, _, kind = name.partition(".py:")
    source = Path(path + ".py" if kind else path)
    copy = folder / source.name
    if not copy.exists():
        shutil.copyfile(source, copy)
    elif source.exists() and copy.read_bytes() != source.read_bytes():
        console.print(f"{source} has changed; this run goes on with {copy}. For the new one, name another --out.")
    kept = str(copy.absolute()) + (f":{kind}" if kind else "")
    try:
        _load(kept)
    except ConfigError:
        copy.unlink()
        return name
    return kept


def _is_file(name: str) -> bool:
    return name.endswith((".py", ".jsonl")) or ".py:" in name


def _absolute(name: str) -> str:
    """A path as seen from anywhere, another name as it is."""
    if name.startswith("jsonl:"):
        name = name.removeprefix("jsonl:")
    path = Path(name.split(".py:")[0]).expanduser()
    return str(Path(name).expanduser().absolute()) if _is_file(name) or path.is_dir() else name


def _params(temperature: float, limit: int, seed: int) -> Any:
    from denken.types import SamplingParams

    return SamplingParams(temperature=temperature, top_p=1.0, max_tokens=limit, seed=seed)


def _samples_of(path: Path, limit: int) -> tuple[int, float]:
    """The longest whole sample, and the share of problems whose samples had one reward."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    whole = [record["tokens"] for record in records if record["finish_reason"] == "stop"]
    rewards: dict[int, set[float]] = {}
    for record in records:
        rewards.setdefault(record["seed"], set()).add(record["reward"])
    return max(whole, default=limit), sum(len(each) == 1 for each in rewards.values()) / max(1, len(rewards))


def _write(recipe: dict[str, Any], folder: Path, remark: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = defaults.to_toml(recipe, f"{remark} Chosen by denken train --task; change it and run it again as you like.")
    temporary = folder / ".recipe.toml"
    temporary.write_text(text, encoding="utf-8")
    Recipe.load(temporary)
    os.replace(temporary, folder / "recipe.toml")


def _finished(folder: Path) -> bool:
    recipe = Recipe.load(folder / "recipe.toml")
    if steps_are_done(Stage(folder / "recipe.toml", recipe, folder)):
        return True
    try:
        seconds = json.loads((folder / "ledger.json").read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError):
        return False
    return recipe.train.minutes is not None and seconds >= 60 * recipe.train.minutes


def _put(model: Path, place: Path) -> None:
    """The model under its final name, in one go."""
    new = place.with_name(".model.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(model, new)
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)


def _figures(result: Result) -> list[str]:
    return [f"{result.solved.value:.3f}", f"{result.solved.low:.2f} to {result.solved.high:.2f}"]


def _lengths(result: Result) -> list[str]:
    return [f"{result.tokens:.0f}", f"{result.cut:.0%}"]
