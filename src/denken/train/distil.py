"""A student that learns from a teacher's right answers, in one command: `denken distil TEACHER --task TASK`.

What happens, in one ordinary run's folder, whose recipe can be read, changed and run again:

    before/, teacher/    how both do on problems that are kept for evaluation
    data/                what the teacher said, what of it is right and fit to learn from, where it comes from
    recipe.toml          the run: [sample] as it was asked, the steps that fit into the time
    model/               the student, with metrics.jsonl, curves.png and ledger.json beside it
    after/               the student again; report.md and results.json have the table

The teacher is a model here or a server elsewhere (`teacher.py`); `sample.py` asks it, `rejection.py` says what is kept,
`pretrain.py` learns, `defaults.py` chooses. The same command goes on with a run that was stopped. What is learnt are
texts: of a teacher's probabilities (logit distillation) nothing.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from denken import remote, tasks
from denken.config import EndpointSection, Recipe, SampleSection
from denken.engine.engine import Engine
from denken.errors import ConfigError, DenkenError
from denken.evaluate import Estimate, Result, measure
from denken.evaluate.metrics import wilson
from denken.evaluate.report import verdict
from denken.evaluate.rerun import weights_digest
from denken.model import checkpoint as exported
from denken.model.transformer import Transformer
from denken.rollout import Answered, Answers, Draw, Local, prompt_ids
from denken.tasks.base import EVALUATION_SEEDS_FROM, Task
from denken.tasks.dataset import JsonlTask
from denken.tokenizer import Tokenizer
from denken.train import defaults, run
from denken.train.data import Conversation, to_document
from denken.train.folder import (
    BUNDLED,
    held_out_file,
    model_folder,
    only_one,
    refuse_quantised,
    resolve_weights,
)
from denken.train.grpo import _eos_ids
from denken.train.journal import Journal, journal_path
from denken.train.jsonl import JsonlSet
from denken.train.ledger import Ledger
from denken.train.owntask import HELD_OUT, _absolute, _finished, _is_file, _kept
from denken.train.pretrain import Trainer
from denken.train.sample import make_set, params_of, set_path
from denken.train.shape import model_config
from denken.train.teacher import NO_MONEY, Endpoint, Stopped, connect
from denken.train.timing import cores, seconds_a_step

NEW = "new"
# The shape of a new student: that of the half-size one in recipes/07_distill.
SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 48,
    "intermediate_size": 512,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
# Shares of the time: the teacher's answers, learning, each of the measures; of the money: measuring the teacher.
SAMPLING, LEARNING, MEASURE, MEASURE_USD = 0.4, 0.4, 0.05, 0.1
MOST_PROBLEMS, LEAST_PROBLEMS, TRIAL = 100, 16, 16
MOST_TOKENS, WIDEST = 2048, 4096
LANGUAGE, ASIDE = 0.5, 0.05
# How often a set is read at most: what is new has everything to learn, what is large learns by heart soon.
EPOCHS = {"new": 40, "small": 12, "large": 4}
LOOKS = 20
USD_PER_CORE_HOUR = 0.02


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as the run's folder keeps it.

    teacher: a model's name or folder, or an address. problems: None is as many as the time allows, 1000 at most.
    language: the least share of a thought's words in the question's language.
    """

    teacher: str
    tasks: tuple[str, ...]
    student: str
    problems: int | None = None
    samples: int = 1
    minutes: float = 10.0
    lora: int | None = None
    seed: int = 1
    max_tokens: int | None = None
    thinking: bool = True
    language: float = LANGUAGE


@dataclass(frozen=True, slots=True)
class Row:
    """How somebody did on the problems kept for evaluation: on each task and on all, and what an answer took.

    usd: for a thousand answers, of a server at the prices given, of a model here by core-hours.
    """

    label: str
    who: str
    results: tuple[Result, ...]
    solved: Estimate
    tokens: float
    seconds: float
    usd: float


def distil(
    asked: Asked,
    endpoint: EndpointSection | None = None,
    *,
    out: Path | None = None,
    runs: Path | None = None,
    console: Console | None = None,
) -> Path | None:
    """Teach the student and return the run's folder; None when somebody asked to stop.

    out: the run's folder; one named after the first task in `runs` ("runs") where it is None. endpoint: more of a
    teacher that is an address.
    Raises UnknownNameError and ConfigError for what cannot be used, DenkenError where the teacher is of no use.
    """
    console = console or Console(stderr=True, highlight=False)
    asked = _checked(asked)
    first = Path(asked.tasks[0]).stem if _is_file(asked.tasks[0]) else asked.tasks[0]
    folder = out or (runs or Path("runs")) / re.sub(r"[^\w.-]+", "-", f"distil-{first}")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with only_one(folder / "data"):
        _same_as_before(asked, folder)
        try:
            _Flow(asked, endpoint, folder, console).go()
        except (Stopped, KeyboardInterrupt):
            console.print(f"Stopped and saved in {folder}; the same command goes on.", markup=False, soft_wrap=True)
            return None
    return folder


def _checked(asked: Asked) -> Asked:
    """With paths as seen from anywhere. What cannot be used is said before anything is written."""
    if not asked.minutes > 0:
        raise ConfigError(f"{asked.minutes:g} minutes is no time to learn in; give more than 0.")
    if "RANK" in os.environ:
        raise ConfigError("denken distil starts its own processes; run it without torchrun.")
    if not asked.tasks:
        raise ConfigError("There is nothing to be taught; give at least one --task.")
    names = tuple(_absolute(name) for name in asked.tasks)
    for name in names:
        _task(name)
    teacher = asked.teacher if _is_address(asked.teacher) else _absolute(asked.teacher)
    if _is_address(teacher):
        remote.addresses(teacher, "the teacher")
    else:
        model_folder(resolve_weights(teacher, Path(), Path("runs/new")))
    student = asked.student
    if student == NEW and asked.lora:
        raise ConfigError("A new student has no weights to adapt; leave --lora out, or name a student that is there.")
    if student != NEW:
        student = _absolute(student)
        refuse_quantised(model_folder(resolve_weights(student, Path(), Path("runs/new"))))
    return Asked(**asdict(asked) | {"tasks": names, "teacher": teacher, "student": student})


class _Flow:
    """The parts of one run, each of which is skipped where its work is done."""

    def __init__(self, asked: Asked, endpoint: EndpointSection | None, folder: Path, console: Console) -> None:
        self.asked, self.folder, self.console = asked, folder, console
        self.names = [_kept(name, folder, console) for name in asked.tasks]
        self.tasks = [_task(name) for name in self.names]
        self.new = asked.student == NEW
        self.start = BUNDLED if self.new else model_folder(resolve_weights(asked.student, Path(), folder))
        self.tokenizer = Tokenizer.load(self.start)
        self.shape = SHAPE | {"vocab_size": self.tokenizer.vocab_size}
        config = model_config(self.shape) if self.new else exported.read_config(self.start)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in Transformer(config).parameters())
        self.setting = defaults.Setting(
            start=str(self.start),
            parameters=parameters,
            context=config.max_position_embeddings,
            cores=cores(),
            bf16=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
            seed=asked.seed,
            lora=asked.lora,
        )
        self.seconds = 60.0 * asked.minutes
        self.max_tokens = self.longest_answer()
        self.endpoint = None
        if _is_address(asked.teacher):
            given = endpoint or EndpointSection()
            # An answer that takes longer than half the sampling is none that a student could wait for.
            patience = min(given.answer_s, max(30.0, SAMPLING * self.seconds / 2))
            self.endpoint = given.model_copy(update={"answer_s": round(patience, 1)})
        self.rows: list[Row] = []

    def go(self) -> None:
        if not self.new:
            with self.model(self.start) as local:
                self.problems(local)
                self.measured("before", _named(self.asked.student, self.start), local)
        self.measure_teacher()
        if not set_path(self.folder).is_file():
            _write(self.recipe(self.learning(longest=WIDEST, steps=100, batch=2048, minutes=None)), self.folder)
            self.say(f"Asking the teacher, for {SAMPLING * self.asked.minutes:.1f} minutes at most.")
            if not make_set(Recipe.load(self.folder / "recipe.toml"), Path(), self.folder):
                raise Stopped
        self.learn()
        with self.model(self.folder / "model", self.longest_learnt()) as local:
            self.measured("after", _named(str(self.folder / "model"), self.folder / "model"), local)
        self.report()

    def section(self, *, problems: int, apart: int) -> SampleSection:
        """What the teacher is asked, and what is kept of it."""
        asked = self.asked
        given: dict[str, Any] = {
            "model": asked.teacher,
            "tasks": [{"task": name, **({"config": _config(name)} if _config(name) else {})} for name in self.names],
            "problems": problems,
            "samples": asked.samples,
            "minutes": round(SAMPLING * asked.minutes, 3),
            "max_tokens": self.max_tokens,
            "batch": max(32, 4 * self.endpoint.concurrency) if self.endpoint else 128,
            "keep_per_problem": asked.samples,
            "max_length": min(WIDEST, self.setting.context),
            "language": asked.language,
            "apart": apart,
            "held_out": ASIDE,
            "thinking": asked.thinking,
        }
        if self.endpoint is not None:
            given["endpoint"] = self.endpoint.model_dump(exclude_defaults=True)
        return SampleSection.model_validate(given)

    def recipe(self, learning: dict[str, Any]) -> dict[str, Any]:
        """The whole run: what is sampled, and how it is learnt."""
        section = self.section(problems=self.how_many(), apart=self.problems())
        learning["sample"] = section.model_dump(mode="json", exclude_defaults=True)
        return learning

    def learning(self, *, longest: int, steps: int, batch: int, minutes: float | None) -> dict[str, Any]:
        made = defaults.worked_recipe(
            self.setting, {"jsonl": "run:self"}, longest=longest, steps=steps, batch_tokens=batch, minutes=minutes
        )
        name = self.folder.absolute().name
        made["name"] = name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else "distil"
        del made["data"]["sources"]  # a [sample] learns from its own set
        if self.new:
            del made["train"]["init_from"]
            made |= {"model": dict(self.shape), "tokenizer": {"path": str(BUNDLED)}}
        if held_out_file(set_path(self.folder)).is_file():
            made["train"] |= {"eval_every": max(1, steps // LOOKS), "eval_documents": 32}
        return made

    def how_many(self) -> int:
        """How many questions: those asked for, or 1000; of files alone, all that may be learnt from."""
        if self.asked.problems is not None:
            return self.asked.problems
        files = [task for task in self.tasks if isinstance(task, JsonlTask)]
        return sum(len(task.learnt()) for task in files) if len(files) == len(self.tasks) else 1000

    def learn(self) -> None:
        """Rewrites the recipe with the steps that fit into the time, and trains."""
        mark = self.folder / "data" / ".measured"
        if not mark.exists():
            records = JsonlSet(set_path(self.folder))
            lengths = [
                len(to_document(Conversation(tuple(records.messages(i)), "", {}), self.tokenizer).ids)
                for i in range(len(records))
            ]
            budget, longest = LEARNING * self.seconds, max(lengths)
            trial = self.recipe(self.learning(longest=longest, steps=3, batch=2048, minutes=None))
            # Processes work side by side: a step of all takes as long as one process's share of it.
            took = seconds_a_step(trial, self.folder, Trainer)
            batch = 2048 * self.setting.processes
            size = defaults.batch_tokens_for(batch / took, budget, self.setting)
            size = max(512 * self.setting.processes, min(size, sum(lengths)))
            kind = "new" if self.new else "small" if self.setting.small else "large"
            most = max(8, -(-EPOCHS[kind] * sum(lengths) // size))
            steps = max(2, min(most, int(budget / (took * size / batch))))
            # A run's time begins with that of its set.
            seconds = 1.3 * budget + Ledger.spent(self.folder).seconds
            learning = self.learning(longest=longest, steps=steps, batch=size, minutes=seconds / 60)
            _write(self.recipe(learning), self.folder)
            mark.touch()
        path = self.folder / "recipe.toml"
        if not _finished(self.folder):
            self.say(f"Learning: about {1.3 * LEARNING * self.asked.minutes:.1f} minutes at most, see {path}.")
            run(path, run_dir=self.folder)
            if not _finished(self.folder):
                raise Stopped

    def longest_learnt(self) -> int:
        """Twice the longest answer that was learnt, in tokens: a student that says more has lost its way."""
        records = JsonlSet(set_path(self.folder))
        said = (records.messages(i)[-1] for i in range(len(records)))
        longest = max(len(self.tokenizer.encode((each.reasoning_content or "") + each.content)) for each in said)
        return min(self.max_tokens, 2 * longest + 16)

    def measure_teacher(self) -> None:
        """How good the teacher is, before money and time go into its answers."""
        if self.endpoint is None:
            place = model_folder(resolve_weights(self.asked.teacher, Path(), self.folder))
            with self.model(place) as local:
                self.problems(local)
                row = self.measured("teacher", _named(self.asked.teacher, place), local)
        else:
            # What is asked does not depend on how many problems there are.
            section = self.section(problems=1, apart=0)
            with Journal(journal_path(self.folder)) as journal:
                there = _Complete(lambda: connect(section, self.asked.seed, journal, purpose="measure"))
                name = self.endpoint.name
                who = f"{name}@{self.asked.teacher}" if name else self.asked.teacher
                path = self.folder / "teacher" / "counts.json"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(self.affordable(there, who, journal)), encoding="utf-8")
                count = int(json.loads(path.read_text(encoding="utf-8")))
                row = self.measured("teacher", who, there, count, lambda: journal.spent.get("measure", 0.0))
        if row.solved.value == 0:
            raise DenkenError(
                f"The teacher solved none of {sum(each.problems for each in row.results)} problems, so there is "
                f"nothing to learn from it. {self.folder / 'teacher'} has what it answered; if only its way of writing "
                'is at fault, say how to answer, as in --tell "Give the final answer alone."'
            )

    def affordable(self, there: Answers, who: str, journal: Journal) -> int:
        """How many problems a task the teacher is measured on: a few show what one costs."""
        most = self.problems()
        if self.endpoint is None or self.endpoint.usd is None:
            return most
        few = max(1, 4 // len(self.tasks))
        self.answer(there, "teacher", who, few)
        each = journal.spent.get("measure", 0.0) / (few * len(self.tasks))
        money = MEASURE_USD * self.endpoint.usd / len(self.tasks)
        return max(few, min(most, int(money / max(each, 1e-12))))

    def measured(self, label: str, who: str, answers: Answers, problems: int | None = None, paid: Any = None) -> Row:
        """Evaluates somebody; what has been answered already is read back. paid: dollars in all; None is time here."""
        self.say(f"Measuring ({label}): problems that are never learnt from.")
        results = self.answer(answers, label, who, problems or self.problems())
        counts = [each.problems for each in results]
        total = sum(counts)
        right = sum(each.solved.value * each.problems for each in results)
        seconds = sum(each.seconds for each in results)
        usd = paid() if paid is not None else seconds * self.setting.cores / 3600 * USD_PER_CORE_HOUR
        row = Row(
            label=label,
            who=who,
            results=tuple(results),
            solved=Estimate(right / total, *wilson(right, total), 0.0) if len(results) > 1 else results[0].solved,
            tokens=sum(each.tokens * each.problems for each in results) / total,
            seconds=seconds / total,
            usd=1000 * usd / total,
        )
        self.rows.append(row)
        self.say(f"  {row.solved.value:.0%} right.")
        return row

    def answer(self, answers: Answers, label: str, who: str, problems: int) -> list[Result]:
        s = self.section(problems=1, apart=0)
        settings = {"label": who, "thinking": s.thinking, "params": asdict(params_of(s, self.asked.seed))}
        # A model that has learnt more keeps its place, but what it answered before is not its answer any more.
        which = hashlib.sha256(who.encode()).hexdigest()[:8]
        return measure(
            answers,
            self.tasks,
            problems=problems,
            transcripts=self.folder / label / f"answers-{which}.jsonl",
            settings=settings,
            progress=self.console.is_terminal,
        )

    @contextmanager
    def model(self, place: Path, max_tokens: int | None = None) -> Iterator[Local]:
        """A model here, as it answers. max_tokens: fewer than what everybody may say."""
        tokenizer = Tokenizer.load(place)
        small = sum(file.stat().st_size for file in place.glob("*.safetensors")) < 4 * defaults.SMALL
        network = exported.load(place, dtype=torch.float32 if small else None).eval()
        threads = torch.get_num_threads()
        torch.set_num_threads(self.setting.cores)
        engine = Engine(network, eos_ids=_eos_ids(tokenizer), tokenizer=tokenizer, ahead=True)
        params = params_of(self.section(problems=1, apart=0), self.asked.seed)
        yield Local(tokenizer, engine, replace(params, max_tokens=max_tokens or self.max_tokens), self.asked.thinking)
        torch.set_num_threads(threads)
        del engine, network
        gc.collect()

    def problems(self, local: Local | None = None) -> int:
        """How many problems of each task a measure takes: as many as the time allows, the same number every time.

        local: a model to try how long they take; without one, where none was tried, as many as there may be.
        """
        path = self.folder / "counts.json"
        if path.exists():
            return int(json.loads(path.read_text(encoding="utf-8")))
        most = max(LEAST_PROBLEMS, MOST_PROBLEMS // len(self.tasks))
        if local is not None:
            draws = [Draw(task.problem(seed)) for task in self.tasks for seed in range(TRIAL // len(self.tasks) + 1)]
            prompts = [prompt_ids(draw.problem, local.tokenizer) for draw in draws]
            local.generate(prompts[:1], replace(local.params, max_tokens=4))  # what happens once is not counted
            started = time.monotonic()
            local.generate(prompts, local.params)
            each = (time.monotonic() - started) / len(draws)
            affordable = int(MEASURE * self.seconds / max(1e-6, each) / len(self.tasks))
            most = max(LEAST_PROBLEMS, min(most, affordable))
        path.write_text(json.dumps(most), encoding="utf-8")
        return most

    def longest_answer(self) -> int:
        """The most tokens of an answer: those asked for, and no more than the student has room for."""
        seeds = [*range(32), *range(EVALUATION_SEEDS_FROM, EVALUATION_SEEDS_FROM + 32)]
        longest = max(len(prompt_ids(task.problem(seed), self.tokenizer)) for task in self.tasks for seed in seeds)
        room = self.setting.context - longest - 1
        if room < 16:
            raise ConfigError(
                f"The tasks' questions leave {room} of the student's {self.setting.context} tokens for an answer; "
                "shorten them, or take a student with a larger context."
            )
        return min(room, self.asked.max_tokens or MOST_TOKENS)

    def report(self) -> None:
        """The table, on the terminal and in report.md and results.json."""
        chosen = json.loads((self.folder / "data" / "selection.json").read_text(encoding="utf-8"))
        ledger = json.loads((self.folder / "ledger.json").read_text(encoding="utf-8"))
        header = ["", "task", "right", "95 %", "problems", "tokens", "seconds", "USD per 1000"]
        rows = [line for row in self.rows for line in _lines(row)]
        names = ", ".join(task.name for task in self.tasks)
        about = f"{names}: problems that were never learnt from, one answer each, temperature 0.6."
        table = Table(title=about)
        for name in header:
            table.add_column(name, justify="left" if name in ("", "task") else "right")
        for row in rows:
            table.add_row(*row)
        Console(width=None if self.console.is_terminal else 120, stderr=True, quiet=self.console.quiet).print(table)
        kept = chosen["kept"] + chosen["held_out"]
        facts = [
            f"Teacher: {self.rows[-2].who}. Student: {self.asked.student}.",
            f"Kept {kept} of {chosen['samples']} answers ({kept / max(1, chosen['samples']):.0%}), "
            f"{chosen['held_out']} of them only to look at. Left out: "
            + (", ".join(f"{count} {what}" for what, count in chosen["left_out"].items()) or "none")
            + ".",
            f"Cost: {ledger['sampled']:,} tokens of answers, {ledger['tokens']:,} learnt from, "
            f"{ledger['core_seconds'] / 3600:.3f} core-hours, {ledger['usd']:.4f} USD, "
            f"of which {ledger['paid_usd']:.4f} were paid to the teacher's server.",
        ]
        columns = [header, ["---", "---", *["---:"] * (len(header) - 2)], *rows]
        text = f"# {names}\n\n{about}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in columns)
        text += "\n" + "\n".join(facts) + "\n"
        (self.folder / "report.md").write_text(text, encoding="utf-8")
        values = {row.label: asdict(row) for row in self.rows} | {"answers": chosen, "ledger": ledger}
        (self.folder / "results.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
        for fact in facts[1:]:
            self.say(fact)
        self.conclude()

    def conclude(self) -> None:
        last = self.rows[-1].solved
        if self.new:
            self.say(f"The new student: {last.value:.0%} right, its teacher {self.rows[-2].solved.value:.0%}.")
            return
        self.say(verdict(self.rows[0].solved, last))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


class _Complete:
    """A server's answers for a measure: one that stopped for want of money must not look like a bad one.

    It is connected to when there is something to ask, so that a run goes on without it where all was answered.
    """

    def __init__(self, connecting: Callable[[], Endpoint]) -> None:
        self.connecting = connecting
        self.there: Endpoint | None = None

    def __call__(self, task: Task, draws: Sequence[Draw]) -> list[Answered]:
        self.there = self.there or self.connecting()
        answered = self.there(task, draws)
        if any(each.lost == NO_MONEY for each in answered):
            raise DenkenError(
                f"One answer of {self.there.section.max_tokens} tokens could cost more than what is left of the "
                f"{self.there.settings.usd:g} dollars, and the teacher is not measured yet; give more, or lower "
                "--max-tokens."
            )
        return answered


def _named(name: str, place: Path) -> str:
    return f"{name}@{weights_digest(place)[:12]}"


def _task(name: str) -> Task:
    return tasks.get(name, _config(name))


def _config(name: str) -> dict[str, Any]:
    """Of a file of questions a share is kept for evaluation."""
    return {"held_out": HELD_OUT} if name.endswith(".jsonl") else {}


def _is_address(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _same_as_before(asked: Asked, folder: Path) -> None:
    """Keeps what was asked for, or checks that it is what the folder's run was begun with."""
    path = folder / "distil.json"
    values = json.loads(json.dumps(asdict(asked)))
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        for name, value in values.items():
            if before.get(name) != value:
                raise ConfigError(
                    f"{folder} holds a run with {name} {before.get(name)}, not {value}; name another folder by --out, "
                    "or give what it was begun with to go on."
                )
    else:
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _write(recipe: dict[str, Any], folder: Path) -> None:
    remark = "Chosen by denken distil; change it and run it again as you like."
    temporary = folder / ".recipe.toml"
    temporary.write_text(defaults.to_toml(recipe, remark), encoding="utf-8")
    Recipe.load(temporary)
    os.replace(temporary, folder / "recipe.toml")


def _lines(row: Row) -> list[list[str]]:
    """A line for each task, and one for all where there are several."""
    lines = [
        [row.label, each.task, *_figures(each.solved), str(each.problems), f"{each.tokens:.0f}", "", ""]
        for each in row.results
    ]
    if len(lines) > 1:
        total = sum(each.problems for each in row.results)
        lines.append([row.label, "all", *_figures(row.solved), str(total), f"{row.tokens:.0f}", "", ""])
    lines[-1][-2:] = [f"{row.seconds:.2f}", f"{row.usd:.4f}"]
    return lines


def _figures(estimate: Estimate) -> list[str]:
    return [f"{estimate.value:.3f}", f"{estimate.low:.2f} to {estimate.high:.2f}"]
