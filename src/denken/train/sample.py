"""A set of worked answers that a model makes itself: problems, samples, judgement, selection, one JSONL file.

Rejection sampling and distillation are this and then next-token training on what came of it. Problem i, and every
sample of it, is a pure function of the recipe, the weights and i, whatever process draws it. Problems go in chunks;
a finished chunk is a file that appears whole, so a run that was stopped or killed at any moment goes on with the first
chunk that is missing, and makes the same set.

    runs/NAME/data/NAME.jsonl    the set         NAME.md    where it comes from, what was left out and why
    runs/NAME/data/sampling.json    what it cost         .chunks-XXXX/    chunks, until the set is whole

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
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import denken
from denken.chat.template import EOS, own_words
from denken.config import Recipe, SampleSection, parse
from denken.engine.engine import Engine
from denken.errors import ConfigError
from denken.model import checkpoint as exported
from denken.rollout import Draw, Reply, lookup_of, read, sample
from denken.tasks import get
from denken.tasks.base import Lookup, Task
from denken.tokenizer import Tokenizer
from denken.train.data import Conversation, Drawer, mixture_of, training_seed
from denken.train.folder import complete, model_folder, only_one, resolve_weights
from denken.train.jsonl import provenance, write
from denken.train.ledger import Ledger, Price
from denken.train.parallel import Mesh, launch, stop_signals
from denken.train.rejection import chosen, reason
from denken.types import Generate, Problem, Rollout, SamplingParams, Score

OURS = ("plain:", "game:", "smalltalk:")  # tasks whose questions are worded here; the others' are reasoning-gym's


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
    model_folder(resolve_weights(recipe.sample.model, base, folder))
    Judges(recipe.sample, recipe.seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    values = recipe.model_dump_json()
    launch(_sample, recipe.train.processes, recipe.train.threads, values, str(base), str(folder), fill)
    return set_path(folder).is_file()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked, and how: the network, its name in records, and what decides every sample."""

    generate: Generate
    tokenizer: Tokenizer
    name: str
    section: SampleSection
    seed: int

    @property
    def params(self) -> SamplingParams:
        s = self.section
        return SamplingParams(temperature=s.temperature, top_p=s.top_p, max_tokens=s.max_tokens, seed=self.seed)


class Judges:
    """The tasks that problems are drawn from; satisfies what `rollout.sample` needs of a task."""

    name = "mixture"

    def __init__(self, section: SampleSection, seed: int) -> None:
        self.names = [each.task for each in section.tasks]
        self.tasks: list[Task] = [get(each.task, each.config) for each in section.tasks]
        self.weights = [each.weight for each in section.tasks]
        self.seed = seed
        self._of: dict[tuple[str, int, str], int] = {}

    def draw(self, index: int) -> Problem:
        """Problem number `index`: a task by weight, and a seed that may be learnt from."""
        rng = Random(f"{self.seed}:sample:{index}")
        (which,) = rng.choices(range(len(self.tasks)), self.weights)
        problem = self.tasks[which].problem(training_seed(rng))
        self._of[problem.task, problem.seed, problem.prompt] = which
        return problem

    def problem(self, seed: int) -> Problem:
        return self.draw(seed)

    def score(self, problem: Problem, answer: str) -> Score:
        return self.tasks[self._which(problem)].score(problem, answer)

    def lookup(self, problem: Problem) -> Lookup | None:
        return lookup_of(self.tasks[self._which(problem)], problem)

    def licence(self, problem: Problem) -> str:
        return licence(self.names[self._which(problem)])

    def _which(self, problem: Problem) -> int:
        return self._of[problem.task, problem.seed, problem.prompt]


def sample_chunk(asked: Asked, judges: Judges, indices: Sequence[int]) -> dict[str, Any]:
    """All samples of these problems: what is kept of them, why the others are not, and what was generated."""
    draws = [Draw(problem, k) for problem in map(judges.draw, indices) for k in range(asked.section.samples)]
    started = time.monotonic()
    rollouts = sample(judges, draws, asked.tokenizer, asked.generate, asked.params, thinking=asked.section.thinking)
    kept, spare, counts = [], [], Counter[str]()
    for draw, rollout in zip(draws, rollouts, strict=True):
        reply = read(rollout.completion, asked.tokenizer, thinking=asked.section.thinking)
        thought_tokens = len(asked.tokenizer.encode(own_words(reply.thought)))
        why = reason(rollout, reply, thought_tokens, asked.section)
        record = _record(asked, rollout, draw.index, reply) | {"license": judges.licence(rollout.problem)}
        if why is None:
            kept.append(record)
        else:
            counts[why] += 1
            if reply.answer or reply.thought.strip():
                spare.append(record)
    return {
        "kept": kept,
        "spare": spare[:4],
        "counts": counts,
        "samples": len(draws),
        "sampled": sum(rollout.completion.generated for rollout in rollouts),
        "seconds": time.monotonic() - started,
    }


def _record(asked: Asked, rollout: Rollout, index: int, reply: Reply) -> dict[str, Any]:
    problem, params = rollout.problem, asked.params
    # The template writes a line break before the end of a thought by itself.
    thought = reply.thought.strip("\n")
    return {
        "messages": [
            {"role": "user", "content": problem.prompt},
            {"role": "assistant", "reasoning_content": thought, "content": reply.answer},
        ],
        "task": problem.task,
        "seed": problem.seed,
        "reward": rollout.score.reward,
        "parts": dict(rollout.score.parts),
        "model": asked.name,
        "sampling": {"temperature": params.temperature, "top_p": params.top_p, "seed": params.seed, "sample": index},
    }


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
    source = model_folder(resolve_weights(section.model, Path(base), folder))
    with only_one(folder) if mesh.main else nullcontext(), stop_signals() as stopping:
        digest = weights_digest(source)
        seed = recipe.seed if section.seed is None else section.seed
        price, engine, tokenizer = _open(source)
        asked = Asked(engine, tokenizer, _name(section.model, source, digest), section, seed)
        judges = Judges(section, seed)
        key = hashlib.sha256(f"{section.model_dump_json()}\0{seed}\0{digest}".encode()).hexdigest()
        chunks = folder / "data" / f".chunks-{key[:12]}"
        if mesh.main:
            for other in set((folder / "data").glob(".chunks-*")) - {chunks}:  # of another model or other settings
                shutil.rmtree(other)
        chunks.mkdir(exist_ok=True)
        each = max(1, section.batch // section.samples)
        files = [chunks / f"{number:06d}.json" for number in range(-(-section.problems // each))]
        mine = [(number, file) for number, file in enumerate(files) if number % mesh.world == mesh.rank]
        rounds = -(-len(files) // mesh.world)
        with _progress(files, section, mesh.main) as advance:
            for place in range(rounds):
                if place < len(mine) and not mine[place][1].exists():
                    number, file = mine[place]
                    indices = range(number * each, min(section.problems, (number + 1) * each))
                    made = sample_chunk(asked, judges, indices)
                    _write_whole(file, made | {"flops": _flops(price, made), "cores": torch.get_num_threads()})
                # Nobody waits for a process that has stopped.
                if any(mesh.gather(stopping())) and place + 1 < rounds:
                    if mesh.main:
                        _say(f"Stopped sampling for {folder.name}, kept what is done; resume with the same command.")
                    return
                advance()
        mesh.wait()
        if mesh.main:
            _put_together(recipe, folder, asked, digest, files, fill=fill)
            shutil.rmtree(chunks)
        mesh.wait()


def _put_together(
    recipe: Recipe, folder: Path, asked: Asked, digest: str, files: Sequence[Path], *, fill: bool
) -> None:
    """The set, its provenance and its cost, from all chunks in order."""
    section, counts, ledger = asked.section, Counter[str](), Ledger()
    samples = 0
    for part in _parts(files):
        counts.update(part["counts"])
        samples += part["samples"]
        ledger.seconds += part["seconds"] / recipe.train.processes
        ledger.core_seconds += part["seconds"] * part["cores"]
        ledger.sampled += part["sampled"]
        ledger.sampling_flops += part["flops"]
    ledger.generate_seconds = ledger.seconds
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

    def counted() -> Iterator[Any]:
        made = chain([first] if first else [], right)
        for record in chain(made, others(section, asked.seed, at_least=0 if first else 4)):
            kinds[record["task"]] += 1
            yield record

    path = set_path(folder)
    part_file = path.with_name(f".{path.name}")
    count = write(part_file, counted())
    os.replace(part_file, path)
    _write_whole(folder / "data" / "sampling.json", {name: getattr(ledger, name) for name in Ledger.__slots__})
    facts = [
        ("made by", f"denken {denken.__version__}, run `{folder.name}`"),
        ("model", f"`{asked.name}`, SHA-256 of its weights `{digest}`"),
        (
            "asked",
            f"{section.problems} problems, {section.samples} answers each, temperature {section.temperature}, top-p "
            f"{section.top_p}, at most {section.max_tokens} tokens, seed {asked.seed}; seeds kept for evaluation are "
            "never drawn",
        ),
        (
            "kept",
            f"{count} conversations, at most {section.keep_per_problem} of one question"
            + (f", answers with a reward of at least {section.reward}" if section.keep == "correct" else "")
            + (f"; {section.others} worked examples of other tasks beside them" if section.others else ""),
        ),
        ("cost", f"{ledger.sampled:,} tokens sampled, {ledger.core_seconds / 3600:.2f} core-hours"),
        ("licence", "of each record in its `license`; answers are the model's and free to use"),
    ]
    provenance(path, folder.name, facts, {"Kept, by task": dict(kinds.most_common()), "Left out": dict(counts)})
    _say(f"Kept {count} of {samples} answers and others in {path}.")


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


def weights_digest(folder: Path) -> str:
    """SHA-256 over the weights' files of a folder, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _open(folder: Path) -> tuple[Price, Engine, Tokenizer]:
    tokenizer = Tokenizer.load(folder)
    model = exported.load(folder, dtype=torch.float32).eval()
    price = Price.of(model.named_parameters(), model.config.to_hf())
    return price, Engine(model, eos_ids={tokenizer.control(EOS)}, tokenizer=tokenizer), tokenizer


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
def _progress(files: Sequence[Path], section: SampleSection, visible: bool) -> Iterator[Callable[[], None]]:
    """A bar over problems, of all processes."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (visible and console.is_terminal), transient=True) as bar:
        each = max(1, section.batch // section.samples)

        def done() -> int:
            return min(section.problems, each * sum(file.exists() for file in files))

        number = bar.add_task("problems sampled", total=section.problems, completed=done())
        yield lambda: bar.update(number, completed=done())
