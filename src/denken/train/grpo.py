"""Learning from one's own scored answers: GRPO, Dr. GRPO, DAPO, GSPO, CISPO.

`GRPO.step` is the whole idea: problems -> rollouts -> scores -> advantages -> loss -> update. The engine samples with
the very module that learns, so nothing is copied, and what its log-probabilities differ from the trainer's is measured
in every step (`parity_max`, `parity_mean`).

The maths is elsewhere: advantages in `advantage.py`, losses in `loss.py`, tensors in `rollouts.py`, the update in
`optim.py`. Which problems a step asks is a function of the recipe's seed and a cursor; problem i and its samples are
the affair of process i % world, and nothing of them depends on that process.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from denken.chat.template import EOS
from denken.config import Recipe
from denken.engine.engine import Engine
from denken.errors import CheckpointError, ConfigError
from denken.model.transformer import Transformer
from denken.reward import Reward
from denken.rollout import Draw, complete, lookup_of, prompt_ids, read, sample_seed
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM, Task, training_seed_allowed
from denken.tokenizer import Tokenizer
from denken.train import checkpoint, session
from denken.train.advantage import group_advantages, soft_overlong
from denken.train.curves import draw_curves
from denken.train.folder import copy_weights, export, start_from
from denken.train.ledger import Ledger, Price
from denken.train.loss import (
    Terms,
    clipped,
    entropy,
    kl_estimate,
    policy_loss,
    rows_at,
    sampled_logprobs,
    token_ratio,
    truncated_importance,
)
from denken.train.optim import lr_factor
from denken.train.parallel import Mesh
from denken.train.rollouts import Group, RolloutBatch, batches
from denken.train.runlog import RunLog
from denken.train.shape import model_config
from denken.train.watch import Watch
from denken.types import Completion, Problem, Rollout, SamplingParams, Score

# Sums over sampled tokens (and, of the first two, over sequences) that travel with the gradients, in this order.
SUMS = ("loss", "weight", "learnt", "tokens", "context", "kl", "clipped", "surprise", "entropy", "parity", "compared")
MAXIMA = ("ratio", "parity")
# With dynamic sampling: how often groups without variance are replaced before the step goes on with fewer.
MOST_ROUNDS = 8
PHASES = ("ask", "generate", "score", "learn", "update")

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def train(
    recipe_path: str | Path, *, run_dir: str | Path | None = None, resume: bool = True, scale: float = 1.0
) -> Path:
    """Run the reinforcement learning that the recipe's [rl] describes and return the run's folder.

    Arguments and errors are those of `denken.train.pretrain.train`.
    """
    return session.start(recipe_path, GRPO, _loop, run_dir=run_dir, resume=resume, scale=scale)


@dataclass(slots=True)
class StepResult:
    """What one step did, over all processes.

    metrics: its line of metrics.jsonl. examples: some of this process's rollouts, readable.
    tokens, targets, context: what went through the trainer, as in `Ledger`.
    """

    metrics: dict[str, Any]
    examples: list[dict[str, Any]]
    tally: Tally
    tokens: int
    targets: int
    context: int
    stop: bool
    save: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Problem number `place` of the run, and which of the recipe's tasks it is of."""

    place: int
    task: int
    problem: Problem


@dataclass(slots=True)
class Answers:
    """The samples of one question, and their scores once they have been judged."""

    question: Question
    prompt: tuple[int, ...]
    completions: list[Completion]
    scores: list[Score] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What a step has sampled in one process: a list a figure, so that processes can be put together.

    lengths: ids generated, of every sample. given: ids that its searches found. prompts: ids of every prompt.
    stds: of every group's rewards.
    """

    rewards: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    accuracy: dict[str, list[float]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    cut: list[bool] = field(default_factory=list)
    stds: list[float] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def count(self, answers: Answers, std: float) -> None:
        """One group."""
        self.rewards += [score.reward for score in answers.scores]
        for score in answers.scores:
            for name, value in score.parts.items():
                self.parts.setdefault(name, []).append(value)
        self.lengths += [completion.generated for completion in answers.completions]
        self.given += [sum(completion.given) for completion in answers.completions]
        self.cut += [completion.finish_reason == "length" for completion in answers.completions]
        self.stds.append(std)
        self.prompts.append(len(answers.prompt))

    def add(self, other: Tally) -> None:
        """Another process's."""
        self.rewards += other.rewards
        self.lengths += other.lengths
        self.given += other.given
        self.cut += other.cut
        self.stds += other.stds
        self.prompts += other.prompts
        for mine, others in ((self.parts, other.parts), (self.accuracy, other.accuracy)):
            for name, values in others.items():
                mine.setdefault(name, []).extend(values)
        # Processes work side by side: the slowest is what a step waits for.
        self.seconds = {name: max(value, other.seconds[name]) for name, value in self.seconds.items()}

    def work(self) -> tuple[int, int, int]:
        """Tokens, targets and context of the sampling, as `Price.sampling_flops` takes them."""
        group = len(self.lengths) // max(1, len(self.prompts))
        prompts = [prompt for prompt in self.prompts for _ in range(group)]
        samples = [length + given for length, given in zip(self.lengths, self.given, strict=True)]
        own = sum(n * (n + 1) // 2 for n in (*self.prompts, *samples))
        shared = sum(prompt * sample for prompt, sample in zip(prompts, samples, strict=True))
        return sum(self.prompts) + sum(samples), sum(self.lengths), own + shared


@dataclass(slots=True)
class Learnt:
    """What the updates of a step have seen: sums and maxima over tokens, gradient norms."""

    updates: int = 0
    norms: list[float] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    maxima: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MAXIMA, 0.0))

    def add(self, stats: Tensor, world: int) -> dict[str, float]:
        """Take in the tail of the buffer after the exchange; returns this update's sums."""
        sums = dict(zip(SUMS, stats[: len(SUMS)].tolist(), strict=True))
        self.sums = {name: self.sums[name] + value for name, value in sums.items()}
        for name, values in zip(MAXIMA, stats[len(SUMS) :].view(len(MAXIMA), world).tolist(), strict=True):
            self.maxima[name] = max(self.maxima[name], *values)
        return sums


def phase(
    name: str,
) -> Callable[[Callable[Concatenate[GRPO, Given], Returned]], Callable[Concatenate[GRPO, Given], Returned]]:
    """A method that is a phase of a step: named to the watchdog, and its time added to the step's seconds."""

    def name_it(method: Callable[Concatenate[GRPO, Given], Returned]) -> Callable[Concatenate[GRPO, Given], Returned]:
        @functools.wraps(method)
        def named(self: GRPO, /, *given: Given.args, **options: Given.kwargs) -> Returned:
            began = time.monotonic()
            with self.mesh.watchdog.phase(name):
                returned = method(self, *given, **options)
            self.tally.seconds[name] += time.monotonic() - began
            return returned

        return named

    return name_it


class GRPO:
    """Policy, reference, engine and optimiser, in one process of a `Mesh`."""

    def __init__(self, recipe: Recipe, mesh: Mesh, tokenizer: Tokenizer, start: Path | None = None) -> None:
        """recipe: complete, with its [model] and [rl]. start: the folder that `init_from` means."""
        if recipe.rl is None:
            raise ConfigError(f"The recipe {recipe.name} has no [rl]; add it, or train it with its [data].")
        self.recipe, self.rl, self.mesh, self.tokenizer = recipe, recipe.rl, mesh, tokenizer
        settings = recipe.train
        if settings.steps is None or settings.compile:
            raise ConfigError("Learning from rewards counts in steps and is not compiled; give steps, and no compile.")
        if self.rl.problems < mesh.world:
            raise ConfigError(
                f"{self.rl.problems} problems cannot be dealt to {mesh.world} processes; lower processes."
            )
        torch.manual_seed(recipe.seed)
        self.config = model_config(recipe.model)
        self.model = Transformer(self.config)
        if start is not None:
            start_from(self.model, start, settings.init_layers)
        self.price = Price.of(self.model.named_parameters(), recipe.model)
        stats = len(SUMS) + len(MAXIMA) * mesh.world
        self.optimizer = session.optimizer(self.model, recipe, mesh, stats=stats, start=start)
        self.reference: Transformer | None = None
        if self.rl.kl:
            self.reference = Transformer(self.config).requires_grad_(False)
            for parameter in self.reference.parameters():
                parameter.data = parameter.data.to(session.DTYPES[settings.dtype])
            self.refresh_reference()
        self.tasks: list[Task] = [get(each.task, each.config) for each in self.rl.tasks]
        self.reward = Reward(recipe.reward.model_dump())
        self.params = SamplingParams(
            temperature=self.rl.temperature, top_p=self.rl.top_p, top_k=self.rl.top_k, max_tokens=self.rl.max_tokens
        )
        self.labels = _labels(recipe)
        with self.optimizer.whole():
            self.engine = self._engine()
        self.done = 0
        self.cursor = 0
        self.tally = Tally()
        self.watch = Watch()

    @property
    def parameters(self) -> int:
        return self.optimizer.size

    def step(self, stop: bool = False, save: bool = False) -> StepResult:
        """One batch of problems asked, answered, judged, compared and learnt from."""
        self.mesh.watchdog.beat(self.done + 1)
        self.tally = Tally()
        groups: list[Group] = []
        missing = self.rl.problems
        for _ in range(MOST_ROUNDS if self.rl.dynamic_sampling else 1):
            questions = self.questions(missing)
            answers = self.generate(questions)
            self.score(answers)
            groups += self.compare(answers)
            missing = self.rl.problems - len(places := self.everybodys([group.place for group in groups]))
            if not missing:
                break
        learnt = Learnt()
        for minibatch in self.minibatches(groups, places):
            self.learn_all(minibatch, first=not learnt.updates)
            self.update(learnt)
        self.engine.weights_changed()
        self.done += 1
        return self.report(groups, learnt, stop, save)

    @phase("ask")
    def questions(self, count: int) -> list[Question]:
        """Of the run's next `count` problems those of this process."""
        places = range(self.cursor, self.cursor + count)
        self.cursor += count
        return [self.question(place) for place in places if place % self.mesh.world == self.mesh.rank]

    def question(self, place: int) -> Question:
        """A task by weight and a seed that may be learnt from: a function of the recipe and of `place`."""
        rng = Random(f"{self.recipe.seed}:rl:{place}")
        task = rng.choices(range(len(self.tasks)), [each.weight for each in self.rl.tasks])[0]
        seed = rng.randrange(EVALUATION_SEEDS_FROM)
        while not training_seed_allowed(seed):
            seed = rng.randrange(EVALUATION_SEEDS_FROM)
        return Question(place, task, self.tasks[task].problem(seed))

    @phase("generate")
    def generate(self, questions: Sequence[Question]) -> list[Answers]:
        """`group` completions of each question, all at once. A sample's seed is its problem's and its own."""
        group = self.rl.group
        lookups = [lookup_of(self.tasks[q.task], q.problem) for q in questions for _ in range(group)]
        prompts = [
            prompt_ids(q.problem, self.tokenizer, thinking=self.rl.thinking, searching=lookups[i * group] is not None)
            for i, q in enumerate(questions)
        ]
        params = [
            replace(self.params, seed=sample_seed(self.recipe.seed, Draw(q.problem, q.place * group + index)))
            for q in questions
            for index in range(group)
        ]
        every = [prompt for prompt in prompts for _ in range(group)]
        completions = complete(every, params, lookups, self.tokenizer, self.engine)
        return [
            Answers(question, prompt, completions[i * group : (i + 1) * group])
            for i, (question, prompt) in enumerate(zip(questions, prompts, strict=True))
        ]

    @phase("score")
    def score(self, answers: Sequence[Answers]) -> None:
        """Have every sample judged by its task, and made into a reward."""
        for each in answers:
            problem, task = each.question.problem, self.tasks[each.question.task]
            replies = [read(completion, self.tokenizer, thinking=self.rl.thinking) for completion in each.completions]
            judged = [
                Rollout(problem, completion, task.score(problem, reply.answer))
                for completion, reply in zip(each.completions, replies, strict=True)
            ]
            right = self.tally.accuracy.setdefault(self.labels[each.question.task], [])
            right += [float(rollout.score.reward == 1.0) for rollout in judged]
            each.scores = [
                self.shortened(score, completion.generated)
                for score, completion in zip(self.reward(judged, replies), each.completions, strict=True)
            ]

    def shortened(self, score: Score, length: int) -> Score:
        """The score, less DAPO's punishment of overlong samples, which may make it negative."""
        if not self.rl.overlong:
            return score
        late = soft_overlong(length, limit=self.rl.max_tokens, buffer=self.rl.overlong)
        return Score(score.reward + late, {**score.parts, "overlong": late})

    def compare(self, answers: Sequence[Answers]) -> list[Group]:
        """Groups with their advantages; with dynamic sampling only those that say something."""
        groups = []
        for each in answers:
            rewards_1G = torch.tensor([[score.reward for score in each.scores]])
            advantages = group_advantages(rewards_1G, normalise_std=self.rl.algorithm != "dr_grpo")[0].tolist()
            rollouts = tuple(
                Rollout(each.question.problem, completion, score, advantage)
                for completion, score, advantage in zip(each.completions, each.scores, advantages, strict=True)
            )
            self.tally.count(each, float(rewards_1G.std(correction=0)))
            if any(advantages) or not self.rl.dynamic_sampling:
                groups.append(Group(each.question.place, each.prompt, rollouts))
        return groups

    def minibatches(self, groups: Sequence[Group], places: Sequence[int]) -> list[list[RolloutBatch]]:
        """The groups dealt to `minibatches` updates by their places, as batches."""
        count = self.rl.minibatches
        turn = {place: i * count // len(places) for i, place in enumerate(places)}
        parts: list[list[Group]] = [[] for _ in range(count)]
        for group in groups:
            parts[turn[group.place]].append(group)
        return [self.batches(part) for part in parts]

    def batches(self, groups: Sequence[Group]) -> list[RolloutBatch]:
        """Groups that say nothing, apart from the others: they are looked at, for the metrics, but not learnt from."""
        speaks = {g.place: self.reference is not None or any(r.advantage for r in g.rollouts) for g in groups}
        made: list[RolloutBatch] = []
        for wanted in (True, False):
            chosen = [group for group in groups if speaks[group.place] is wanted]
            made += batches(chosen, self.recipe.train.micro_tokens)
        if self.rl.importance_cap and self.rl.minibatches > 1:
            with torch.no_grad():
                for batch in made:
                    batch.trainer_ST = batch.padded(self.logprobs(self.model, batch)[0])
        return made

    @phase("learn")
    def learn_all(self, minibatch: Sequence[RolloutBatch], *, first: bool) -> None:
        """Forwards and backwards of a minibatch. first: no update since the sampling."""
        for batch in minibatch:
            self.learn(batch, first=first)

    def learn(self, batch: RolloutBatch, *, first: bool) -> None:
        """Forward and backward of one batch; gradients of the summed loss go to the buffer, figures to its tail."""
        learns = self.reference is not None or bool(batch.advantage_S.any())
        with torch.set_grad_enabled(learns):
            new_M, entropy_M, ranks_MW = self.logprobs(self.model, batch)
            new_ST = batch.padded(new_M)
            reference_ST = self.reference_logprobs(batch, ranks_MW)
            # The sampler's are the old ones, unless its difference from the trainer is to be corrected.
            old_ST, importance_ST = batch.logprobs_ST, None
            if self.rl.importance_cap:
                old_ST = new_ST.detach() if batch.trainer_ST is None else batch.trainer_ST
                importance_ST = truncated_importance(
                    old_ST, batch.logprobs_ST, batch.mask_ST, cap=self.rl.importance_cap
                )
            terms = policy_loss(
                self.rl.algorithm,
                new_ST,
                old_ST,
                batch.advantage_S,
                batch.mask_ST,
                clip_low=self.rl.clip_low,
                clip_high=self.rl.clip_high,
                max_tokens=self.rl.max_tokens,
                reference_ST=reference_ST,
                kl=self.rl.kl,
                importance_ST=importance_ST,
            )
            if learns:
                terms.loss_S.sum().backward()
                self.optimizer.collect()
        with torch.no_grad():
            self.note(batch, terms, new_ST, old_ST, reference_ST, entropy_M, first=first)

    def logprobs(
        self, model: Transformer, batch: RolloutBatch, ranks_MW: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probabilities of the sampled ids under the distribution they were drawn from; the entropy of each before
        any cut, without gradient; and, where something was cut, the ids in falling order (`sampled_logprobs`)."""
        hidden_1ND = model.hidden(batch.ids_1N, batch.positions_1N, batch.attend)
        hidden_MD = rows_at(hidden_1ND[0], batch.index_M)
        temperature = self.rl.temperature
        if batch.kept_M is None:
            return *model.logprobs(hidden_MD, batch.targets_M, temperature), None
        logits_MV = model.logits(hidden_MD.float())
        logprobs_M, ranks_MW = sampled_logprobs(
            logits_MV, batch.targets_M, temperature=temperature, kept_N=batch.kept_M, ranks=ranks_MW
        )
        return logprobs_M, entropy(logits_MV, temperature), ranks_MW

    @torch.no_grad()
    def reference_logprobs(self, batch: RolloutBatch, ranks_MW: Tensor | None) -> Tensor | None:
        """The reference's, over the ids that the policy could have drawn; None where there is no reference."""
        if self.reference is None:
            return None
        return batch.padded(self.logprobs(self.reference, batch, ranks_MW)[0])

    def note(
        self,
        batch: RolloutBatch,
        terms: Terms,
        new_ST: Tensor,
        old_ST: Tensor,
        reference_ST: Tensor | None,
        entropy_M: Tensor,
        *,
        first: bool,
    ) -> None:
        """Add a batch's figures to the tail of the gradient buffer. first: no update since the sampling."""
        mask_ST = batch.mask_ST
        ratio_ST = token_ratio(new_ST, old_ST, mask_ST)
        beyond_ST = clipped(ratio_ST, batch.advantage_S, self.rl.clip_low, self.rl.clip_high)
        apart_ST = (new_ST - batch.logprobs_ST).abs() * mask_ST
        sums: dict[str, Tensor | float] = {
            "loss": terms.loss_S.sum(),
            "weight": terms.weight_S.sum(),
            "learnt": mask_ST.sum(),
            "tokens": batch.tokens,
            "context": batch.context,
            "kl": (kl_estimate(new_ST, reference_ST) * mask_ST).sum() if reference_ST is not None else 0.0,
            "clipped": (beyond_ST * mask_ST).sum(),
            "surprise": -(batch.logprobs_ST * mask_ST).sum(),
        }
        if first:
            sums["entropy"] = entropy_M.sum()
            sums["parity"] = apart_ST.sum()
            sums["compared"] = mask_ST.sum()
        stats = self.optimizer.stats
        stats[: len(SUMS)] += torch.tensor([float(sums.get(name, 0.0)) for name in SUMS])
        # Each process has a place of its own for its maxima, so that the sum over processes keeps them apart.
        maxima = stats[len(SUMS) :].view(len(MAXIMA), self.mesh.world)[:, self.mesh.rank]
        maxima[0] = max(maxima[0], ratio_ST.max())
        if first:
            maxima[1] = max(maxima[1], apart_ST.max())

    @phase("update")
    def update(self, learnt: Learnt) -> None:
        """Gradients and figures summed over processes in one exchange, the division, the optimiser's step."""
        self.optimizer.reduce(self.mesh.sum_)
        sums = learnt.add(self.optimizer.stats, self.mesh.world)
        if not math.isfinite(sums["loss"]):
            raise session.diverged(self.done, sums["loss"])
        learnt.updates += 1
        if self.optimizer.norm(self.mesh.sum_) == 0:
            # No group said anything: momentum alone would move the weights for no reason.
            self.optimizer.buffer.zero_()
            return
        self.optimizer.gradient.div_(max(1.0, sums["weight"]))
        factor = lr_factor(self.done, self.recipe.train.total_steps, self.recipe.optim)
        norm = self.optimizer.step(factor, self.mesh.sum_)
        if not math.isfinite(norm):
            raise session.diverged(self.done, norm)
        learnt.norms.append(norm)

    def everybodys(self, places: Sequence[int]) -> list[int]:
        """All processes' places, in order."""
        return sorted(place for part in self.mesh.gather(list(places)) for place in part)

    def report(self, groups: Sequence[Group], learnt: Learnt, stop: bool, save: bool) -> StepResult:
        """What the step did, over all processes."""
        tally, sums = Tally(), learnt.sums
        flags = [False, False]
        for part, asked_stop, asked_save in self.mesh.gather((self.tally, stop, save)):
            tally.add(part)
            flags = [flags[0] or asked_stop, flags[1] or asked_save]
        compared, tokens = max(1.0, sums["compared"]), max(1.0, sums["learnt"])
        metrics: dict[str, Any] = {
            "step": self.done,
            "reward": _mean(tally.rewards),
            "reward_std": _mean(tally.stds),
            "parts": {name: _mean(values) for name, values in sorted(tally.parts.items())},
            "accuracy": {name: _mean(values) for name, values in sorted(tally.accuracy.items())},
            "length": _mean(tally.lengths),
            "length_max": max(tally.lengths),
            "cut": _mean(tally.cut),
            "no_variance": _mean([std == 0.0 for std in tally.stds]),
            "groups": len(tally.stds),
            "loss": sums["loss"] / max(1.0, sums["weight"]),
            "kl": sums["kl"] / tokens,
            "clipped": sums["clipped"] / tokens,
            "ratio_max": learnt.maxima["ratio"],
            "entropy": sums["entropy"] / compared,
            "surprise": sums["surprise"] / tokens,
            "parity_max": learnt.maxima["parity"],
            "parity_mean": sums["parity"] / compared,
            "grad_norm": _mean(learnt.norms),
            "lr": self.recipe.optim.lr * lr_factor(self.done - 1, self.recipe.train.total_steps, self.recipe.optim),
            "sampled": sum(tally.lengths),
            "learnt": round(sums["learnt"]),
        }
        return StepResult(
            metrics,
            [self.shown(group, rollout) for group in groups[:2] for rollout in _best_and_worst(group)],
            tally=tally,
            tokens=round(sums["tokens"]),
            targets=round(sums["learnt"]),
            context=round(sums["context"]),
            stop=flags[0],
            save=flags[1],
        )

    def shown(self, group: Group, rollout: Rollout) -> dict[str, Any]:
        """A rollout as a line of rollouts.jsonl."""
        reply = read(rollout.completion, self.tokenizer, thinking=self.rl.thinking)
        return {
            "step": self.done,
            "place": group.place,
            "task": rollout.problem.task,
            "seed": rollout.problem.seed,
            "prompt": rollout.problem.prompt,
            "expected": rollout.problem.answer,
            "thought": reply.thought,
            "answer": reply.answer,
            "cut": reply.cut,
            "tokens": rollout.completion.generated,
            "reward": rollout.score.reward,
            "parts": dict(rollout.score.parts),
            "advantage": rollout.advantage,
        }

    def refresh_reference(self) -> None:
        """Make today's policy the reference."""
        assert self.reference is not None
        own = {name: parameter.detach() for name, parameter in self.reference.named_parameters()}
        with self.optimizer.whole():
            copy_weights(own, dict(self.model.named_parameters()), "the policy")

    def evaluate(self) -> dict[str, float]:
        """The share of evaluation problems of each task that are answered rightly, greedily."""
        right = torch.zeros(len(self.tasks))
        params = replace(self.params, temperature=0.0, top_p=1.0, top_k=0)
        count = self.rl.eval_problems
        mine = [
            (task, self.tasks[task].problem(EVALUATION_SEEDS_FROM + i))
            for task in range(len(self.tasks))
            for i in range(count)
            if (task * count + i) % self.mesh.world == self.mesh.rank
        ]
        lookups = [lookup_of(self.tasks[task], problem) for task, problem in mine]
        prompts = [
            prompt_ids(problem, self.tokenizer, thinking=self.rl.thinking, searching=lookup is not None)
            for (_, problem), lookup in zip(mine, lookups, strict=True)
        ]
        completions = complete(prompts, params, lookups, self.tokenizer, self.engine)
        for (task, problem), completion in zip(mine, completions, strict=True):
            answer = read(completion, self.tokenizer, thinking=self.rl.thinking).answer
            right[task] += self.tasks[task].score(problem, answer).reward == 1.0
        self.mesh.sum_(right)
        return dict(zip(self.labels, (right / count).tolist(), strict=True))

    def state(self, ledger: Ledger) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """Everything a bit-exact continuation needs: JSON values and tensors. Every process must call it.

        Checkpoints are taken between steps, where no rollout waits: what was sampled has been learnt from.
        """
        rngs = self.mesh.gather(torch.get_rng_state())
        state = {
            "format": 1,
            "step": self.done,
            "cursor": self.cursor,
            "policy_version": self.engine.policy_version,
            "ledger": asdict(ledger),
            "watch": self.watch.state(),
            "recipe": self.recipe.model_dump(mode="json"),
            "tokenizer": session.tokenizer_hash(self.tokenizer),
        }
        tensors = {
            "weights": self.optimizer.weights(),
            "optimizer": self.optimizer.state(),
            "rng": {f"torch.{rank}": rng for rank, rng in enumerate(rngs)},
        }
        if self.reference is not None:
            tensors["reference"] = {name: p.detach() for name, p in self.reference.named_parameters()}
        return state, tensors

    def restore(self, saved: checkpoint.Saved, warn: Callable[[str], None]) -> Ledger:
        """Continue from a checkpoint; what the recipe changed meanwhile is said through `warn`."""
        if "cursor" not in saved.state:
            raise CheckpointError(
                f"{saved.folder} is of a run that reads texts; give this recipe another name, and init_from for its "
                "weights."
            )
        session.compare(saved.state["recipe"], self.recipe.model_dump(mode="json"), warn)
        if saved.state["tokenizer"] != session.tokenizer_hash(self.tokenizer):
            warn("the tokenizer has changed since the checkpoint; what the weights know of the old ids may be lost.")
        copy_weights(self.optimizer.masters, self.optimizer.own(saved.tensors["weights"]), str(saved.folder))
        self.optimizer.publish()
        self.optimizer.restore(saved.tensors["optimizer"])
        if self.reference is not None:
            own = {name: p.detach() for name, p in self.reference.named_parameters()}
            if "reference" in saved.tensors:
                copy_weights(own, saved.tensors["reference"], str(saved.folder))
            else:
                warn("the checkpoint has no reference policy; the weights as they were saved become the reference.")
                self.refresh_reference()
        rng = saved.tensors["rng"].get(f"torch.{self.mesh.rank}")
        if rng is not None:
            torch.set_rng_state(rng)
        self.done, self.cursor = saved.state["step"], saved.state["cursor"]
        self.engine.policy_version = saved.state["policy_version"]
        self.watch.restore(saved.state["watch"])
        return Ledger(**saved.state["ledger"])

    def _engine(self) -> Engine:
        """An engine over the very network that learns, which may run a step's samples all at once."""
        return Engine(
            self.model,
            eos_ids=_eos_ids(self.tokenizer),
            tokenizer=self.tokenizer,
            max_batch_tokens=2048,
            ahead=True,
            max_sequences=-(-self.rl.problems // self.mesh.world) * self.rl.group,
        )


def _loop(grpo: GRPO, ledger: Ledger, folder: Path, stopping: Callable[[], bool], log: RunLog | None) -> None:
    """Step, count, log and save until the budget is spent or somebody asks to stop. Only rank 0 has a log."""
    settings, rl, total = grpo.recipe.train, grpo.rl, grpo.recipe.train.total_steps
    cores = grpo.mesh.world * torch.get_num_threads()
    if log is not None:
        log.draw = draw_curves
    if settings.eval_every and grpo.done == 0:
        _look(grpo, log)
    before = saved_at = time.monotonic()
    recent: deque[float] = deque(maxlen=20)
    while grpo.done < total:
        due = log is not None and time.monotonic() - saved_at >= settings.checkpoint_every_s > 0
        # Processes sample and learn at their own pace, for which each needs all the weights.
        with grpo.optimizer.whole():
            result = grpo.step(stop=stopping(), save=due)

        now = time.monotonic()
        took, before = now - before, now
        recent.append(took)
        metrics, seconds = result.metrics, result.tally.seconds
        ledger.tick(took, cores)
        ledger.tokens += result.tokens
        ledger.targets += result.targets
        ledger.sampled += metrics["sampled"]
        ledger.generate_seconds += seconds["generate"]
        ledger.learn_seconds += seconds["learn"] + seconds["update"]
        ledger.flops += grpo.price.flops(result.tokens, result.targets, result.context)
        if grpo.reference is not None:
            ledger.flops += grpo.price.sampling_flops(result.tokens, result.targets, result.context)
        ledger.sampling_flops += grpo.price.sampling_flops(*result.tally.work())

        step, last = grpo.done, grpo.done == total or result.stop
        warnings = grpo.watch(metrics)
        if log is not None:
            for warning in warnings:
                log.warn_once(warning)
            split = {name: round(value, 3) for name, value in seconds.items()}
            log.record({**metrics, "split": split, "seconds": round(ledger.seconds, 3), "tokens": ledger.tokens})
            if step % settings.log_every == 0 or last:
                log.rollouts(result.examples)
            figures = f"reward {metrics['reward']:.3f}  length {metrics['length']:.0f}  {took:.1f} s a step"
            log.show(step, figures, (total - step) * sum(recent) / len(recent))
        if rl.kl and rl.reference_every and step % rl.reference_every == 0:
            grpo.refresh_reference()
        if settings.eval_every and (step % settings.eval_every == 0 or step == total):
            _look(grpo, log)
        if result.save or last or (settings.checkpoint_every and step % settings.checkpoint_every == 0):
            with grpo.mesh.watchdog.phase("save"):
                save(grpo, ledger, folder, log, final=last)
            saved_at = time.monotonic()
        if result.stop and step < total:
            if log is not None:
                log.say(session.ended(step, settings, ledger.seconds))
            return
    if log is not None:
        log.say(
            f"Done: {ledger.sampled:,} tokens sampled and {ledger.targets:,} learnt from in {ledger.seconds / 60:.1f} "
            f"min ({ledger.generate_seconds / 60:.1f} generating, {ledger.learn_seconds / 60:.1f} learning), "
            f"{ledger.flops + ledger.sampling_flops:.2e} FLOPs, {ledger.priced(grpo.recipe.cost)}. "
            f"The model is in {folder / 'model'}."
        )


def _look(grpo: GRPO, log: RunLog | None) -> None:
    """Log the accuracy on problems that are never learnt from."""
    with grpo.optimizer.whole(), grpo.mesh.watchdog.phase("evaluate"):
        accuracy = grpo.evaluate()
    if log is not None:
        log.record({"step": grpo.done, "eval_accuracy": accuracy})


def save(grpo: GRPO, ledger: Ledger, folder: Path, log: RunLog | None, *, final: bool) -> None:
    """A checkpoint, the weights as a Hugging Face folder, the ledger and the curves. Every process must call it."""
    state, tensors = grpo.state(ledger)
    if log is not None:
        export(grpo.optimizer.network(grpo.model, tensors["weights"]), grpo.tokenizer, folder)
        grpo.optimizer.leave(folder)
        ledger.write(folder / "ledger.json", grpo.recipe.cost)
        log.curves(final=final)
        # Last, since what a kill leaves undone before it is done again, and what it leaves undone after it is not.
        checkpoint.save(folder / "checkpoints", grpo.done, state, tensors, keep=grpo.recipe.train.keep)
    grpo.mesh.wait()


def _labels(recipe: Recipe) -> list[str]:
    """What the tasks are called in the log: their names, with the settings where a name stands there twice."""
    assert recipe.rl is not None
    names = [each.task for each in recipe.rl.tasks]
    return [
        f"{each.task} {json.dumps(each.config)}" if names.count(each.task) > 1 else each.task
        for each in recipe.rl.tasks
    ]


def _eos_ids(tokenizer: Tokenizer) -> set[int]:
    """The ids that end a text: the control token of that name, and those of generation_config.json."""
    path = tokenizer.folder / "generation_config.json"
    given = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    ids = set(given) if isinstance(given, list) else set() if given is None else {given}
    ids |= {tokenizer.control(EOS)} if tokenizer.has_control(EOS) else set()
    if not ids:
        raise ConfigError(
            f"Nothing says which token ends an answer in {tokenizer.folder}; add eos_token_id to its "
            "generation_config.json."
        )
    return ids


def _best_and_worst(group: Group) -> list[Rollout]:
    ranked = sorted(group.rollouts, key=lambda rollout: rollout.score.reward)
    return [ranked[-1], ranked[0]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
