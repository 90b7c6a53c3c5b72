"""A set of worked answers that a model gives: problems, samples, judgement, selection, one JSONL file.

Rejection sampling and distillation are this and then next-token training on what came of it. Who is asked is a model
here or a server elsewhere (`teacher.py`); the walk is the same. Of a model here, problem i and every sample of it are
a pure function of the recipe, the weights and i, whatever process draws them. Problems go in chunks; a finished chunk
is a file that appears whole, so a run that was stopped or killed at any moment goes on with the first chunk that is
missing, and makes the same set. Where `minutes` end the sampling, how far it came depends on the machine.

    runs/NAME/data/NAME.jsonl    the set         NAME.md    where it comes from, what was left out and why
    runs/NAME/data/NAME-held-out.jsonl    the share of it that is only looked at
    runs/NAME/data/sampling.json    what it cost         .chunks-XXXX/    chunks, until the set is whole
    runs/NAME/data/asked.jsonl    all that a server elsewhere said

What is kept is `rejection.py`'s business, what a set may hold `jsonl.py`'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import denken
from denken.chat.message import Message
from denken.chat.template import EOS, own_words, render
from denken.config import Recipe, SampleSection, parse
from denken.engine.engine import Engine
from denken.errors import ConfigError
from denken.evaluate.rerun import weights_digest
from denken.model import checkpoint as exported
from denken.rollout import Answered, Answers, Draw, Local, lookup_of
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM, Lookup, Task, training_seed_allowed
from denken.tasks.dataset import JsonlTask
from denken.tokenizer import Tokenizer
from denken.train.data import Conversation, Drawer, mixture_of, training_seed
from denken.train.folder import complete, find, held_out_file, model_folder, only_one, resolve_weights
from denken.train.journal import Journal, journal_path
from denken.train.jsonl import provenance, write
from denken.train.ledger import Ledger, Price
from denken.train.parallel import Mesh, launch, stop_signals
from denken.train.rejection import EXAMINED, OVER, SPELT, chosen, reason, spells
from denken.train.runlog import PLAIN_LINE_EVERY_S
from denken.train.teacher import Endpoint, Stopped, connect
from denken.types import Problem, SamplingParams, Score

# Tasks whose questions are worded here; the others' are reasoning-gym's.
OURS = ("plain:", "fields:", "game:", "smalltalk:")


def set_path(folder: Path) -> Path:
    """Where a run's own set lies: runs/NAME/data/NAME.jsonl."""
    return folder / "data" / f"{folder.absolute().name}.jsonl"


def make_set(recipe: Recipe, base: Path, folder: Path, *, fill: bool = False) -> bool:
    """Sample the set of the recipe's [sample] into the run's folder; False when somebody asked to stop before the end.

    A set that is there is left as it is. fill: keep wrong answers where none is right, so that a chain of stages can be
    tried at a length at which nothing is learnt yet.
    ConfigError where nothing is kept, UnknownNameError where the model is not there.
    """
    if set_path(folder).is_file():
        return True
    assert recipe.sample is not None
    # What can be wrong is said before processes start.
    if not recipe.sample.elsewhere:
        model_folder(resolve_weights(recipe.sample.model, base, folder))
    elif "RANK" in os.environ:
        raise ConfigError("One process asks a server elsewhere; make the set without torchrun, and then train with it.")
    Judges(recipe.sample, recipe.seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    values = recipe.model_dump_json()
    processes = 1 if recipe.sample.elsewhere else recipe.train.processes
    launch(_sample, processes, recipe.train.threads, values, str(base), str(folder), fill)
    return set_path(folder).is_file()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked, and how: whoever answers, their name in records, and what decides every sample.

    tokenizer: of whoever learns. foreign: what comes is text of a server elsewhere.
    """

    answers: Answers
    tokenizer: Tokenizer
    name: str
    section: SampleSection
    seed: int
    foreign: bool = False


def params_of(section: SampleSection, seed: int) -> SamplingParams:
    return SamplingParams(
        temperature=section.temperature, top_p=section.top_p, max_tokens=section.max_tokens, seed=seed
    )


class Judges:
    """The tasks that problems are drawn from; satisfies what `rollout.sample` needs of a task."""

    name = "mixture"

    def __init__(self, section: SampleSection, seed: int) -> None:
        self.names = [each.task for each in section.tasks]
        self.tasks: list[Task] = [get(each.task, each.config) for each in section.tasks]
        self.weights = [each.weight for each in section.tasks]
        self.seed = seed
        self._of: dict[tuple[str, int, str], int] = {}
        self._examined = {
            _plain(problem.prompt) for task in self.tasks for problem in _examination(task, section.apart)
        }

    def draw(self, index: int) -> Problem:
        """Problem number `index`: a task by weight, and a seed that may be learnt from.

        The questions of a file come in turn, so that none is asked twice before all are asked.
        """
        rng = Random(f"{self.seed}:sample:{index}")
        (which,) = rng.choices(range(len(self.tasks)), self.weights)
        task, seed = self.tasks[which], training_seed(rng)
        if isinstance(task, JsonlTask):
            rows = len(task.learnt())
            seed = rows * -(-1000 // rows) + index
            assert training_seed_allowed(seed)
        problem = task.problem(seed)
        self._of[problem.task, problem.seed, problem.prompt] = which
        return problem

    def problem(self, seed: int) -> Problem:
        return self.draw(seed)

    def score(self, problem: Problem, answer: str) -> Score:
        return self.tasks[self._which(problem)].score(problem, answer)

    def lookup(self, problem: Problem) -> Lookup | None:
        return lookup_of(self.tasks[self._which(problem)], problem)

    def examined(self, problem: Problem) -> bool:
        """Whether it is one of the problems that evaluation asks, by its words."""
        return _plain(problem.prompt) in self._examined

    def licence(self, problem: Problem) -> str:
        return licence(self.names[self._which(problem)])

    def _which(self, problem: Problem) -> int:
        return self._of[problem.task, problem.seed, problem.prompt]


def sample_chunk(asked: Asked, judges: Judges, indices: Sequence[int]) -> dict[str, Any]:
    """All samples of these problems: what is kept of them, why the others are not, and what was generated."""
    problems = list(map(judges.draw, indices))
    free = [problem for problem in problems if not judges.examined(problem)]
    draws = [Draw(problem, k) for problem in free for k in range(asked.section.samples)]
    started = time.monotonic()
    answered = asked.answers(judges, draws)
    kept, spare = [], []
    counts = Counter[str]({EXAMINED: (len(problems) - len(free)) * asked.section.samples})
    for draw, each in zip(draws, answered, strict=True):
        why = each.lost or _ground(asked, each)
        record = _record(asked, each, draw.index) | {"license": judges.licence(draw.problem)}
        if why is None:
            kept.append(record)
        else:
            counts[why] += 1
            if each.reply.answer or each.reply.thought.strip():
                spare.append(record)
    return {
        "kept": kept,
        "spare": spare[:4],
        "counts": +counts,
        "samples": len(problems) * asked.section.samples,
        "sampled": sum(each.tokens for each in answered),
        "seconds": time.monotonic() - started,
    }


def _ground(asked: Asked, each: Answered) -> str | None:
    """Why nothing is to be learnt from an answer; None where something is."""
    reply, most = each.reply, asked.section.max_length
    if asked.foreign and spells(reply, asked.tokenizer.control_ids):
        return SPELT
    why = reason(each.rollout, reply, len(asked.tokenizer.encode(own_words(reply.thought))), asked.section)
    if why is None and most:
        said = Message("assistant", reply.answer, reasoning_content=reply.thought)
        whole = render([Message("user", each.rollout.problem.prompt), said], asked.tokenizer)
        return OVER if len(whole.ids) > most else None
    return why


def _record(asked: Asked, each: Answered, index: int) -> dict[str, Any]:
    problem, score, section = each.rollout.problem, each.rollout.score, asked.section
    # The template writes a line break before the end of a thought by itself.
    thought = each.reply.thought.strip("\n")
    return {
        "messages": [
            {"role": "user", "content": problem.prompt},
            {"role": "assistant", "reasoning_content": thought, "content": each.reply.answer},
        ],
        "task": problem.task,
        "seed": problem.seed,
        "reward": score.reward,
        "parts": dict(score.parts),
        "model": asked.name,
        "sampling": {
            "temperature": section.temperature,
            "top_p": section.top_p,
            "seed": asked.seed,
            "sample": index,
        },
    }


def _examination(task: Task, count: int) -> Iterator[Problem]:
    """The first problems that evaluation asks; of a file that is not divided, none is kept from it."""
    if isinstance(task, JsonlTask):
        count = min(count, len(task)) if task.divided else 0
    return (task.problem(seed) for seed in range(EVALUATION_SEEDS_FROM, EVALUATION_SEEDS_FROM + count))


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split())


def licence(task: str) -> str:
    """Under which licence a task's question stands; nobody knows of a file's."""
    if task.startswith("jsonl:") or task.endswith(".jsonl"):
        return "unknown"
    return "MIT" if task.startswith(OURS) else "Apache-2.0"


def _sample(mesh: Mesh, values: str, base: str, run_folder: str, fill: bool) -> None:
    """One process: every chunk whose number is this process's turn; the first one then puts the set together."""
    recipe = parse(Recipe, json.loads(values), where="The recipe")
    folder, section = Path(run_folder), recipe.sample
    assert section is not None
    seed = recipe.seed if section.seed is None else section.seed
    with only_one(folder) if mesh.main else nullcontext(), stop_signals() as stopping, ExitStack() as held:
        judges = Judges(section, seed)
        counter = _Counter(section)
        who = (
            _elsewhere(recipe, Path(base), folder, held, stopping, counter)
            if section.elsewhere
            else _here(recipe, Path(base), folder, seed)
        )
        key = hashlib.sha256(f"{section.model_dump_json()}\0{seed}\0{who.digest}".encode()).hexdigest()
        chunks = folder / "data" / f".chunks-{key[:12]}"
        if mesh.main:
            for other in set((folder / "data").glob(".chunks-*")) - {chunks}:  # of another model or other settings
                shutil.rmtree(other)
        chunks.mkdir(exist_ok=True)
        each = max(1, section.batch // section.samples)
        files = [chunks / f"{number:06d}.json" for number in range(-(-section.problems // each))]
        mine = [(number, file) for number, file in enumerate(files) if number % mesh.world == mesh.rank]
        rounds = -(-len(files) // mesh.world)
        before = sum(part["seconds"] for part in _parts([file for file in files if file.exists()])) / mesh.world
        who.begin(max(before, who.before))
        with _progress(files, section, mesh.main, counter) as advance:
            for place in range(rounds):
                if place < len(mine) and not mine[place][1].exists() and not who.late():
                    number, file = mine[place]
                    indices = range(number * each, min(section.problems, (number + 1) * each))
                    try:
                        made = sample_chunk(who.asked, judges, indices)
                    except Stopped:
                        _say_stopped(folder)
                        return
                    _write_whole(file, made | who.cost(made))
                # Nobody waits for a process that has stopped.
                asked_to = mesh.gather((stopping(), who.late() or who.spent()))
                if any(stop for stop, _ in asked_to) and place + 1 < rounds:
                    if mesh.main:
                        _say_stopped(folder)
                    return
                advance()
                if any(over for _, over in asked_to):
                    break
        mesh.wait()
        if mesh.main:
            there = [file for file in files if file.exists()]
            _put_together(recipe, folder, who, seed, there, processes=mesh.world, fill=fill)
            shutil.rmtree(chunks)
        mesh.wait()


@dataclass(slots=True)
class _Who:
    """Whoever is asked in a run. digest: changes with who it is. origin: of the provenance. price: a model's here."""

    asked: Asked
    digest: str
    origin: str
    minutes: float | None
    price: Price | None = None
    endpoint: Endpoint | None = None
    before: float = 0.0
    began: float = 0.0

    def begin(self, seconds: float) -> None:
        """Sampling goes on, after so many seconds of it."""
        self.began = time.monotonic() - seconds

    def late(self) -> bool:
        return self.minutes is not None and time.monotonic() - self.began >= 60 * self.minutes

    def spent(self) -> bool:
        return self.endpoint is not None and self.endpoint.spent

    def cost(self, made: dict[str, Any]) -> dict[str, Any]:
        """What a chunk took beside seconds and tokens; waiting for a server takes no core."""
        if self.price is None:
            return {"flops": 0.0, "cores": 0}
        return {"flops": _flops(self.price, made), "cores": torch.get_num_threads()}


def _here(recipe: Recipe, base: Path, folder: Path, seed: int) -> _Who:
    """A model in a folder."""
    section = recipe.sample
    assert section is not None
    source = model_folder(resolve_weights(section.model, base, folder))
    digest = weights_digest(source)
    price, engine, tokenizer = _open(source)
    local = Local(tokenizer, engine, params_of(section, seed), section.thinking)
    learns = _learner(recipe, base, folder) or tokenizer
    name = _name(section.model, source, digest)
    origin = f"`{name}`, SHA-256 of its weights `{digest}`"
    return _Who(Asked(local, learns, name, section, seed), digest, origin, section.minutes, price)


def _elsewhere(
    recipe: Recipe, base: Path, folder: Path, held: ExitStack, stopping: Callable[[], bool], counter: _Counter
) -> _Who:
    """A model of a server."""
    section = recipe.sample
    assert section is not None
    seed = recipe.seed if section.seed is None else section.seed
    learns = _learner(recipe, base, folder)
    assert learns is not None, "a recipe with [sample] names a tokenizer or weights to start from"
    journal = held.enter_context(Journal(journal_path(folder)))
    endpoint = connect(section, seed, journal, stopping=stopping, show=counter)
    origin = f"`{endpoint.model}`, asked at `{endpoint.name.rpartition('@')[2]}`"
    asked = Asked(endpoint, learns, endpoint.name, section, seed, foreign=True)
    who = _Who(asked, endpoint.name, origin, section.minutes, endpoint=endpoint, before=endpoint.elapsed)
    endpoint.late = who.late
    counter.journal = journal
    return who


def _learner(recipe: Recipe, base: Path, folder: Path) -> Tokenizer | None:
    """The vocabulary of whoever learns."""
    if recipe.tokenizer is not None:
        return Tokenizer.load(find(recipe.tokenizer.path, base))
    start = recipe.train.init_from
    return None if start is None else Tokenizer.load(model_folder(resolve_weights(start, base, folder)))


class _Counter:
    """What has come of a server elsewhere, for the line of progress."""

    def __init__(self, section: SampleSection) -> None:
        self.section = section
        self.journal: Journal | None = None
        self.answers = self.right = self.lost = 0
        self.changed: Callable[[], None] = lambda: None

    def __call__(self, answered: Answered) -> None:
        self.answers += not answered.lost
        self.lost += bool(answered.lost)
        self.right += answered.rollout.score.reward >= self.section.reward
        self.changed()

    def __str__(self) -> str:
        if self.journal is None:
            return "problems sampled"
        said = f"{self.answers} answers, {self.right} right" + (f", {self.lost} missing" if self.lost else "")
        return said + (f", {self.journal.usd:.4f} USD" if self.journal.usd else "")


def _say_stopped(folder: Path) -> None:
    _say(f"Stopped sampling for {folder.name}, kept what is done; resume with the same command.")


def _put_together(
    recipe: Recipe, folder: Path, who: _Who, seed: int, files: Sequence[Path], *, processes: int, fill: bool
) -> None:
    """The set, its provenance and its cost, from all chunks in order."""
    asked, section, counts, ledger = who.asked, who.asked.section, Counter[str](), Ledger()
    samples = 0
    for part in _parts(files):
        counts.update(part["counts"])
        samples += part["samples"]
        ledger.seconds += part["seconds"] / processes
        ledger.core_seconds += part["seconds"] * part["cores"]
        ledger.sampled += part["sampled"]
        ledger.sampling_flops += part["flops"]
    ledger.generate_seconds = ledger.seconds
    ledger.paid_usd = who.endpoint.journal.usd if who.endpoint is not None else 0.0
    right = chosen((record for part in _parts(files) for record in part["kept"]), section.keep_per_problem, counts)
    first = next(right, None)
    if first is None and not fill:
        why = ", ".join(f"{count} {what}" for what, count in counts.most_common())
        raise ConfigError(
            f"Of {samples} answers none is kept ({why}); take a better model, easier [sample] tasks, more samples or "
            "more max_tokens."
        )
    if first is None:
        _say(
            f"Warning: none of {samples} answers is kept; some wrong ones fill the set, so that the chain can be "
            "tried. Nothing good will be learnt from them."
        )
        right = chosen((record for part in _parts(files) for record in part["spare"]), 1, Counter())
        first = next(right, None)
    kinds: Counter[str] = Counter()
    aside: list[Any] = []

    def counted() -> Iterator[Any]:
        made = chain([first] if first else [], right)
        for record in chain(
            _divided(made, section.held_out, aside), others(section, asked.seed, at_least=0 if first else 4)
        ):
            kinds[record["task"]] += 1
            yield record

    path = set_path(folder)
    part_file = path.with_name(f".{path.name}")
    count = write(part_file, counted())
    if aside:
        write(held_out_file(path), aside)
    os.replace(part_file, path)
    _write_whole(folder / "data" / "sampling.json", {name: getattr(ledger, name) for name in Ledger.__slots__})
    selection = {"samples": samples, "kept": count, "held_out": len(aside), "left_out": dict(counts.most_common())}
    _write_whole(folder / "data" / "selection.json", selection)
    facts = [
        ("made by", f"denken {denken.__version__}, run `{folder.name}`"),
        ("model", who.origin),
        (
            "asked",
            f"{section.problems} problems, {section.samples} answers each, temperature {section.temperature}, top-p "
            f"{section.top_p}, at most {section.max_tokens} tokens, seed {asked.seed}; seeds kept for evaluation are "
            "never drawn"
            + (f", nor the words of its first {section.apart} problems of each task" if section.apart else ""),
        ),
        (
            "kept",
            f"{count} conversations, at most {section.keep_per_problem} of one question"
            + (f", answers with a reward of at least {section.reward}" if section.keep == "correct" else "")
            + (f"; {len(aside)} more in `{held_out_file(path).name}`, which are not learnt" if aside else "")
            + (f"; {section.others} worked examples of other tasks beside them" if section.others else ""),
        ),
        (
            "cost",
            f"{ledger.sampled:,} tokens sampled, {ledger.core_seconds / 3600:.2f} core-hours"
            + (f", {ledger.paid_usd:.4f} USD paid" if ledger.paid_usd else ""),
        ),
        (
            "licence",
            "of each record in its `license`; answers are the model's and free to use"
            if not asked.foreign
            else "of each question in its `license`; whether answers may be learnt from and passed on, the terms of "
            "whoever made and serves the model say: check them",
        ),
    ]
    if asked.foreign and section.endpoint is not None and section.endpoint.tell:
        facts.insert(3, ("said behind each question", section.endpoint.tell))
    provenance(path, folder.name, facts, {"Kept, by task": dict(kinds.most_common()), "Left out": dict(counts)})
    _say(f"Kept {count + len(aside)} of {samples} answers and others in {path}.")
    missing = section.problems * section.samples - samples
    if missing:
        _say(f"{missing} answers were not asked for: {'the money was spent' if who.spent() else 'the time was over'}.")


def _divided(records: Iterator[Any], share: float, aside: list[Any]) -> Iterator[Any]:
    """The records without those of every so many-th question, which go aside."""
    every = round(1 / share) if share else 0
    numbers: dict[str, int] = {}
    for record in records:
        number = numbers.setdefault(record["messages"][0]["content"], len(numbers) + 1)
        if every and number % every == 0:
            aside.append(record)
        else:
            yield record


def others(section: SampleSection, seed: int, *, at_least: int = 0) -> Iterator[dict[str, Any]]:
    """Worked examples of `other_tasks`, so that what was learnt otherwise is not forgotten."""
    wanted = max(section.others, at_least)
    if wanted:
        given = [{"task": each.task, "weight": each.weight, "config": each.config} for each in section.other_tasks]
        sources = given or [{"task": "smalltalk:talk"}, {"task": "smalltalk:outside"}]
        drawer = Drawer(mixture_of({"sources": sources}), seed)
        for index in range(wanted):
            yield worked(drawer.conversation(index))


def save_documents(recipe: Recipe, base: Path, folder: Path) -> None:
    """Write the first documents of the recipe's mixture to the run's set, as many as `save_documents` says.

    They are those that the run learns from first. A set that is there is left as it is.
    """
    path = set_path(folder)
    if path.is_file():
        return
    (folder / "data").mkdir(parents=True, exist_ok=True)
    recipe = complete(recipe, base, folder)
    mixture = mixture_of(recipe.data.sources)
    drawer = Drawer(mixture, recipe.seed)
    kinds: Counter[str] = Counter()

    def counted() -> Iterator[dict[str, Any]]:
        for index in range(recipe.data.save_documents):
            drawn = drawer.conversation(index)
            kinds[drawn.source] += 1
            yield worked(drawn)

    count = write(path, counted())
    facts = [
        ("made by", f"denken {denken.__version__}, run `{folder.name}`"),
        ("what", f"the first {count} documents that the run learns from, of the mixture in its recipe.toml"),
        ("seed", f"{recipe.seed}; problems whose seeds are kept for evaluation are never drawn"),
        ("licence", "of each record in its `license`: questions of reasoning-gym are Apache-2.0, all else is MIT"),
    ]
    provenance(path, folder.name, facts, {"Documents, by task": dict(kinds.most_common())})
    _say(f"Wrote {count} of the documents to {path}.")


def worked(drawn: Conversation) -> dict[str, Any]:
    """A worked example as a record of a set."""
    messages = []
    for message in drawn.messages:
        said = {"role": message.role, "content": message.content}
        if message.reasoning_content is not None:
            said["reasoning_content"] = message.reasoning_content
        messages.append(said)
    made = {"model": "worked example", "license": licence(drawn.source)}
    made |= {key: value for key, value in drawn.record.items() if value != {}}
    return made | {"messages": messages}


def _open(folder: Path) -> tuple[Price, Engine, Tokenizer]:
    tokenizer = Tokenizer.load(folder)
    model = exported.load(folder, dtype=torch.float32).eval()
    price = Price.of(model.named_parameters(), model.config.to_hf())
    return price, Engine(model, eos_ids={tokenizer.control(EOS)}, tokenizer=tokenizer, ahead=True), tokenizer


def _name(spec: str, folder: Path, digest: str) -> str:
    """How records name the model: as the recipe does, with the step of a run's weights or the start of their hash."""
    steps = [int(path.name[5:]) for path in (folder.parent / "checkpoints").glob("step-*")]
    return f"{spec}@step-{max(steps)}" if steps else f"{spec}@{digest[:12]}"


def _flops(price: Price, made: dict[str, Any]) -> float:
    length = made["sampled"] / max(1, made["samples"])
    return price.sampling_flops(made["sampled"], made["sampled"], round(made["sampled"] * length / 2))


def _parts(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    return (json.loads(file.read_text(encoding="utf-8")) for file in files)


def _write_whole(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(values, stream, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def _say(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)


@contextmanager
def _progress(
    files: Sequence[Path], section: SampleSection, visible: bool, counter: _Counter
) -> Iterator[Callable[[], None]]:
    """A bar over problems, of all processes; where there is no terminal and a server is asked, a line at times."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    spoke = time.monotonic()
    with Progress(*columns, console=console, disable=not (visible and console.is_terminal), transient=True) as bar:
        each = max(1, section.batch // section.samples)

        def done() -> int:
            return min(section.problems, each * sum(file.exists() for file in files))

        number = bar.add_task(str(counter), total=section.problems, completed=done())
        begun = done()

        def changed() -> None:
            nonlocal spoke
            now = begun + (counter.answers + counter.lost) // section.samples
            bar.update(number, description=str(counter), completed=min(section.problems, now))
            if not console.is_terminal and time.monotonic() - spoke >= PLAIN_LINE_EVERY_S:
                spoke = time.monotonic()
                _say(f"{now} of {section.problems} problems: {counter}.")

        counter.changed = changed
        yield lambda: bar.update(number, completed=done())
