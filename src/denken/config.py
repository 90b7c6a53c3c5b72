"""Recipes: `recipe.toml` read into frozen records, where a mistyped key is an error that names the near miss.

A recipe describes one training run completely: the model's shape (Hugging Face's `config.json` keys), its tokenizer,
its data, its optimiser and its budget. What a key of `[model]` means is left to `denken.model.config`, what a source of
`[data]` means to `denken.train.data`; both tables are handed over as they stand.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from denken.errors import ConfigError, UnknownNameError

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """One table of a recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerSection(Section):
    """path: a folder with tokenizer.json, relative to the working directory or else to the recipe's folder."""

    path: Path


class DataSection(BaseModel):
    """What is read. Every key but those below belongs to the data sources and is passed on untouched.

    widths: how many tokens a packed row may hold; a document goes to the smallest width that holds it. `width = 512`
        is short for `widths = [512]`.
    open_rows: how many rows of each width wait to be filled up; more means less padding and more memory.
    save_documents: how many of the first documents are written to the run's data/NAME.jsonl, so that others can read
        and use what was learnt from; 0 writes none.
    held_out: a set that `eval_every` looks at, in the place of other documents of the sources; none of it is learnt.
        That of a [sample] with `held_out` is its own.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    widths: tuple[int, ...] = (512,)
    open_rows: int = Field(default=16, ge=1)
    save_documents: int = Field(default=0, ge=0)
    held_out: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_width(cls, values: Any) -> Any:
        if isinstance(values, dict) and "width" in values:
            values = dict(values)
            if "widths" in values:
                raise ValueError("give either width or widths, not both")
            values["widths"] = [values.pop("width")]
        return values

    @model_validator(mode="after")
    def _sorted_widths(self) -> Self:
        if not self.widths or min(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)):
            raise ValueError("widths must be different numbers of tokens above 1, smallest first, such as [128, 512]")
        return self

    @property
    def sources(self) -> dict[str, Any]:
        """The keys that belong to `denken.train.data`."""
        return dict(self.model_extra or {})


class OptimSection(Section):
    """How weights move.

    lr: the peak learning rate of the hidden matrices. adam_lr: that of embeddings, norms, biases and head; None takes
        lr with adamw, 0.003 with muon.
    schedule: after `warmup` steps, "wsd" stays at the peak and falls in a straight line over the last
        `decay_fraction` of the steps, "cosine" and "linear" fall all the way; all end at min_lr_fraction of the peak.
    grad_clip: the largest gradient norm; 0 does not clip.
    """

    name: Literal["muon", "adamw"] = "muon"
    lr: float = Field(default=0.02, gt=0)
    adam_lr: float | None = Field(default=None, gt=0)
    warmup: int = Field(default=100, ge=0)
    schedule: Literal["wsd", "cosine", "linear"] = "wsd"
    decay_fraction: float = Field(default=0.2, ge=0, le=1)
    min_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    grad_clip: float = Field(default=1.0, ge=0)


class LoraSection(Section):
    """Low-rank adapters in place of whole weights (`denken.train.lora`): W + (alpha / rank) * B A."""

    rank: int = Field(default=8, ge=1, le=4096)
    alpha: float = Field(default=16.0, gt=0)


class TrainSection(Section):
    """How long, how much at a time, and what is kept.

    steps, tokens or epochs: the budget; tokens are counted as slots of packed rows, steps = tokens / batch_tokens.
        epochs: how often every document is read, where all sources are sets of documents.
    minutes: the run ends when it has taken so long, although steps are left, and the learning rate falls with the time
        that is left where that is the shorter; None: it takes the time it takes.
    batch_tokens: slots of one step over all processes. micro_tokens: slots of one forward in one process.
    device: "cpu", "cuda", or "auto", which is a GPU where PyTorch sees one and there is code for it (what is sampled
        and rewarded is learnt on the CPU). One process drives a GPU, whatever `processes` says.
    readers: how many other processes make and pack documents for a GPU; None: nearly as many as there are cores.
    processes: how many processes share a step. lanes: into how many streams the documents are dealt (a multiple of
        processes; None: as many as processes); a run keeps its loss curve under any processes that divide its lanes.
    threads: torch's threads a process; None: 1 with several processes, else torch's own choice.
    init_from: weights to start from instead of random ones: a folder (Hugging Face's format, a run, a checkpoint),
        "run:NAME" for the run of that name beside this one, or "bundled" for the model that comes with denken.
    lora: adapters to train instead of the weights of `init_from`; None trains all of them.
    init_layers: which of its layers to take, in order, for a network with fewer: [0, 2, 4] starts a student of three
        layers from every second one of six, as DistilBERT does (arXiv 1910.01108, section 3).
    eval_every: steps between looks at documents of another seed; 0 never looks. eval_documents: how many each time.
    shard: weights, gradients and momenta are shared out among the processes instead of held by each (FSDP2).
    stall_s: how many seconds a part of a step may last before it is announced, if it never took a tenth of that; 0
        announces nothing.
    """

    steps: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    batch_tokens: int = Field(default=8192, ge=2)
    micro_tokens: int = Field(default=4096, ge=2)
    dtype: Literal["bf16", "fp32"] = "bf16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    readers: int | None = Field(default=None, ge=1, le=256)
    processes: int = Field(default=1, ge=1)
    lanes: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1, le=1024)
    compile: bool = False
    checkpoint_every_s: float = Field(default=300, ge=0)
    checkpoint_every: int | None = Field(default=None, ge=1)
    keep: int = Field(default=2, ge=1)
    log_every: int = Field(default=10, ge=1)
    eval_every: int = Field(default=0, ge=0)
    eval_documents: int = Field(default=64, ge=1)
    init_from: str | None = Field(default=None, min_length=1)
    init_layers: tuple[int, ...] | None = Field(default=None, min_length=1)
    lora: LoraSection | None = None
    shard: bool = False
    stall_s: float = Field(default=120, ge=0)

    @model_validator(mode="after")
    def _adapters_to_something(self) -> Self:
        if self.lora is not None and self.init_from is None:
            raise ValueError("lora adapts weights that are there; give init_from too")
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if sum(budget is not None for budget in (self.steps, self.tokens, self.epochs)) != 1:
            raise ValueError("give either steps or tokens or epochs (the budget of the run), one of the three")
        if self.init_layers is not None and self.init_from is None:
            raise ValueError("init_layers are layers of init_from; give init_from too")
        if self.shard and self.compile:
            raise ValueError("a network that is shared out cannot be compiled; leave out shard or compile")
        return self

    @property
    def most_seconds(self) -> float:
        """`minutes` in seconds; endless where there are none."""
        return math.inf if self.minutes is None else 60 * self.minutes

    @property
    def total_steps(self) -> int:
        """The budget in steps; that of epochs is known once the documents are (`denken.train.data.with_steps`)."""
        if self.steps is not None:
            return self.steps
        assert self.tokens is not None, "how many steps epochs are depends on the documents"
        return max(1, -(-self.tokens // self.batch_tokens))


class RewardSection(Section):
    """What a rollout is paid for: the weights of the parts, of which the reward is the weighted mean.

    accuracy: the task's own score. format: one closed thought, then an answer. language: the share of the thought's
    words that are in the language asked for. length: short among the correct ones of its group.
    """

    accuracy: float = Field(default=1.0, ge=0)
    format: float = Field(default=0.0, ge=0)
    language: float = Field(default=0.0, ge=0)
    length: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("all weights are 0, so nothing would be rewarded; give one above 0")
        return self


class RLTask(Section):
    """One task whose answers are rewarded, how often it is drawn, and its own settings."""

    task: str
    weight: float = Field(default=1.0, gt=0)
    config: dict[str, Any] = {}


# What a published algorithm sets differently from GRPO; every key can be given in the recipe all the same.
_ALGORITHM_DEFAULTS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {"kl": 0.0},
    "dapo": {"kl": 0.0, "clip_high": 0.28, "dynamic_sampling": True},
    "gspo": {"kl": 0.0, "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"kl": 0.0, "clip_low": 1.0, "clip_high": 4.0},
}


class RLSection(Section):
    """Learning from scored samples: GRPO and its relatives (`denken.train.loss` names the papers).

    algorithm: sets the defaults of the keys below; each can be given all the same. dr_grpo, dapo, gspo, cispo: kl = 0;
        dapo: clip_high = 0.28, dynamic_sampling, overlong = a fifth of max_tokens; gspo: clip_low = 3e-4, clip_high =
        4e-4; cispo: clip_low = 1, clip_high = 4.
    problems, group: questions a step over all processes, and samples of each.
    max_tokens: the most tokens of a sample. temperature, top_p, top_k: how it is drawn; top_k = 0 is off.
    thinking: whether prompts open a thought.
    clip_low, clip_high: the ratio to the policy that sampled counts from 1 - clip_low to 1 + clip_high.
    kl: the weight of the divergence from a reference, which is the policy of `reference_every` steps ago at most
        (0: of the start). 0 does without a reference.
    minibatches: updates a step.
    dynamic_sampling: groups whose rewards are all equal are replaced by others.
    overlong: over how many tokens before max_tokens a punishment grows to 1; 0 is off.
    importance_cap: the largest weight of truncated importance sampling; 0 is off.
    eval_problems: questions of each task at every look (`eval_every` in [train]), answered greedily.
    """

    algorithm: Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo"] = "grpo"
    problems: int = Field(default=16, ge=1)
    group: int = Field(default=8, ge=2)
    max_tokens: int = Field(default=384, ge=1)
    temperature: float = Field(default=1.0, gt=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    thinking: bool = True
    clip_low: float = Field(default=0.2, gt=0)
    clip_high: float = Field(default=0.2, gt=0)
    kl: float = Field(default=0.001, ge=0)
    reference_every: int = Field(default=400, ge=0)
    minibatches: int = Field(default=1, ge=1)
    dynamic_sampling: bool = False
    overlong: int = Field(default=0, ge=0)
    importance_cap: float = Field(default=0.0, ge=0)
    eval_problems: int = Field(default=32, ge=1)
    tasks: tuple[RLTask, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _by_algorithm(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        defaults = _ALGORITHM_DEFAULTS.get(str(values.get("algorithm")), {})
        if values.get("algorithm") == "dapo" and isinstance(values.get("max_tokens", 384), int):
            defaults = defaults | {"overlong": values.get("max_tokens", 384) // 5}
        return defaults | values

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.minibatches > self.problems:
            raise ValueError(f"{self.problems} problems cannot make {self.minibatches} minibatches; lower minibatches")
        if self.overlong > self.max_tokens:
            raise ValueError("overlong is more than max_tokens; lower it")
        return self


class EndpointSection(Section):
    """A server elsewhere that answers in the place of a model here (`denken.train.teacher`).

    name: what the model is called there; None where it has one alone. key_env: the environment variable with the key.
    tell: what is said behind every question, such as how to write the answer; it is not learnt.
    concurrency: answers under way at once. answer_s: seconds that one may take. tries: how often one is asked for.
    usd_in, usd_out: US dollars for a million tokens of prompts and of answers. usd: the most to spend, all in all.
    """

    name: str | None = Field(default=None, min_length=1)
    key_env: str | None = Field(default=None, min_length=1)
    tell: str = ""
    concurrency: int = Field(default=8, ge=1, le=256)
    answer_s: float = Field(default=600.0, gt=0)
    tries: int = Field(default=5, ge=1, le=100)
    usd_in: float = Field(default=0.0, ge=0)
    usd_out: float = Field(default=0.0, ge=0)
    usd: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _prices(self) -> Self:
        if self.usd is not None and not self.usd_in + self.usd_out > 0:
            raise ValueError("usd can only be kept to where prices are known; give usd_in and usd_out")
        return self


class SampleSection(Section):
    """A set of worked answers that a model makes itself: sampled, judged, filtered (`denken.train.sample`).

    model: who is asked: "run:NAME", "bundled", a folder, or the address of a server with OpenAI's API, of which
        `endpoint` says more. tasks: what it is asked.
    problems: how many different ones. samples: how many answers to each. minutes: the set is what there is after so
        long; None takes the time it takes.
    temperature, top_p, max_tokens, thinking: how they are drawn. batch: how many are drawn at a time.
    keep: "correct" keeps answers of at least `reward`, "all" every one that is whole.
    keep_per_problem: at most so many of one problem, in the order in which they were drawn.
    max_thought: the longest thought to keep, max_length: the longest conversation, in ids of whoever learns; 0 keeps
        any. language: the least share of a thought's words that must be in the problem's language; 0 asks for none.
    apart: the first so many problems of each task that evaluation asks are not asked here, whatever their seed.
    held_out: the share of the questions whose answers are not learnt from, but looked at (`held_out` of [data]).
    others: how many worked examples of `other_tasks` are added, so that what was learnt otherwise is not forgotten;
        where none are named, small talk.
    seed: of problems and samples; None takes the recipe's.
    """

    model: str = Field(min_length=1)
    tasks: tuple[RLTask, ...] = Field(min_length=1)
    problems: int = Field(ge=1)
    samples: int = Field(default=4, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    temperature: float = Field(default=0.6, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    thinking: bool = True
    batch: int = Field(default=256, ge=1)
    keep: Literal["correct", "all"] = "correct"
    reward: float = Field(default=1.0, ge=0, le=1)
    keep_per_problem: int = Field(default=1, ge=1)
    max_thought: int = Field(default=0, ge=0)
    max_length: int = Field(default=0, ge=0)
    language: float = Field(default=0.0, ge=0, le=1)
    apart: int = Field(default=0, ge=0)
    held_out: float = Field(default=0.0, ge=0, le=0.5)
    others: int = Field(default=0, ge=0)
    other_tasks: tuple[RLTask, ...] = ()
    seed: int | None = Field(default=None, ge=0)
    endpoint: EndpointSection | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether `model` is the address of a server."""
        return self.model.startswith(("http://", "https://"))

    @model_validator(mode="after")
    def _one_teacher(self) -> Self:
        if self.endpoint is not None and not self.elsewhere:
            raise ValueError("endpoint says more of a server; give its address as model, such as http://127.0.0.1:8000")
        return self


class CostSection(Section):
    """What a core, and a GPU with the machine around it, costs for an hour, in US dollars: the ledger multiplies."""

    usd_per_core_hour: float = Field(default=0.02, ge=0)
    usd_per_gpu_hour: float = Field(default=4.0, ge=0)


class ExpectSection(Section):
    """What a run took where it was measured, for `denken train --plan`. minutes: of wall-clock time on `cores`."""

    minutes: float = Field(gt=0)
    cores: int = Field(default=2, ge=1)


class Recipe(Section):
    """One training run, described completely.

    model, tokenizer: where they are left out, those of `train.init_from` (`denken.train.folder.complete` reads them).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=1, ge=0)
    model: dict[str, Any] = {}
    tokenizer: TokenizerSection | None = None
    data: DataSection = DataSection()
    sample: SampleSection | None = None
    rl: RLSection | None = None
    reward: RewardSection = RewardSection()
    optim: OptimSection = OptimSection()
    train: TrainSection
    cost: CostSection = CostSection()
    expect: ExpectSection | None = None

    def scaled(self, scale: float) -> Self:
        """The same run at `scale` times its length, at least 2 steps: to try a whole chain in minutes.

        What is counted in steps (warm-up, checkpoints, looks at unseen documents) shrinks along; a run of less than a
        fifth is not compiled.
        """
        if scale == 1:
            return self
        if not 0 < scale < 1:
            raise ConfigError(f"A scale of {scale} cannot be used; give one above 0, up to 1.")
        train = self.train
        changed: dict[str, Any] = {}
        if train.epochs is None:
            changed |= {"steps": max(2, round(train.total_steps * scale)), "tokens": None}
        for name in ("checkpoint_every", "eval_every"):
            if getattr(train, name):
                changed[name] = max(1, round(getattr(train, name) * scale))
        if scale < 0.2:
            changed["compile"] = False  # compiling would take longer than the run
        given: dict[str, Any] = {
            "train": train.model_copy(update=changed | {"log_every": max(1, round(train.log_every * scale))}),
            "optim": self.optim.model_copy(update={"warmup": round(self.optim.warmup * scale)}),
            "data": self.data.model_copy(update={"save_documents": _fewer(self.data.save_documents, scale)}),
        }
        if self.rl is not None:
            given["rl"] = self.rl.model_copy(update={"reference_every": _fewer(self.rl.reference_every, scale)})
        if self.sample is not None:
            fewer = {"problems": _fewer(self.sample.problems, scale), "others": _fewer(self.sample.others, scale)}
            given["sample"] = self.sample.model_copy(update=fewer)
        return self.model_copy(update=given)

    @model_validator(mode="after")
    def _network(self) -> Self:
        for table, given in (("model", self.model), ("tokenizer", self.tokenizer)):
            if not given and self.train.init_from is None:
                raise ValueError(f"there is no [{table}]; add it, or take both from init_from in [train]")
        return self

    @model_validator(mode="after")
    def _kind(self) -> Self:
        texts = bool(self.data.sources) or self.sample is not None
        if texts == (self.rl is not None) or (self.rl is not None and self.data != DataSection()):
            raise ValueError(
                "give either [data] with sources or [sample], to learn from texts, or [rl], to learn from rewards"
            )
        if self.rl is None and self.reward != RewardSection():
            raise ValueError("[reward] belongs to [rl]; add [rl], or leave it out")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe file. ConfigError names every key that is wrong, and the near miss of an unknown one.

        UnknownNameError where there is no such file names the nearest one beside it.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            beside = {file.name: file for file in path.parent.glob("*.toml")}
            beside |= {file.parent.name: file.parent for file in path.parent.glob("*/recipe.toml")}
            near = difflib.get_close_matches(path.name, beside, n=1)
            hint = (
                f"did you mean {str(beside[near[0]])!r}?" if near else "give the path of a recipe.toml, or its folder."
            )
            raise UnknownNameError(f"There is no recipe {str(path)!r}; {hint}") from None
        except OSError as error:
            raise ConfigError(
                f"The recipe {path} cannot be read ({error.strerror}); give the path of a recipe.toml."
            ) from None
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"The recipe {path} is not UTF-8 text ({error}); give the path of a recipe.toml."
            ) from None
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"The recipe {path} is not valid TOML: {error}.") from None
        return parse(cls, values, where=str(path))


def _fewer(count: int, scale: float) -> int:
    """A count scaled; none stays none, and of some at least 2 are left, or all where there were fewer."""
    return max(min(2, count), round(count * scale))


def parse(model: type[Model], values: dict[str, Any], *, where: str, beside: Collection[str] = ()) -> Model:
    """Validate `values` as `model`; what is wrong becomes one ConfigError in whole sentences.

    beside: keys that stand in the same table and were read by somebody else, for the near miss.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        sentences = [_sentence(model, each["type"], each["loc"], each["msg"], beside) for each in error.errors()]
        raise ConfigError(f"{where}: " + " ".join(sentences)) from None


def _sentence(
    model: type[BaseModel], kind: str, location: tuple[int | str, ...], message: str, beside: Collection[str]
) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        known = sorted({*_table(model, location[:-1]).model_fields, *(beside if len(location) == 1 else ())})
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}."
        return f"There is no key {key!r}; {hint}"
    if kind == "missing":
        return f"The key {key!r} is missing; add it."
    message = message.removeprefix("Value error, ").rstrip(".").replace("a valid tuple", "a list")
    return f"{key or 'the recipe'}: {message[:1].lower()}{message[1:]}."


def _table(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The record that the table at `location` is read into."""
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        # A record, one of several kinds of value, or a list of records; an index in that list names no field.
        for option in (annotation, *get_args(annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                model = option
    return model
