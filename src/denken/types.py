"""The records that flow through the house: values only, no behaviour beyond checking themselves.

A training step turns one into the next:

>>> problem = Problem(task="chain_sum", prompt="State the final answer: 4 + 3 =", answer="7", seed=11)
>>> completion = Completion(ids=(5, 9, 2), logprobs=(-0.1, -0.2, -0.0), finish_reason="stop")
>>> score = Score(reward=1.0, parts={"accuracy": 1.0})
>>> Rollout(problem, completion, score).advantage is None
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from denken.errors import RequestError

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is sampled; the defaults are those of the R1 paper's evaluation.

    temperature: 0 is greedy. top_p, min_p: in (0, 1] and [0, 1). top_k: 0 switches it off.
    seed: the same seed, prompt and weights give the same ids whatever else is in the batch.
    stop: strings that end the answer; the text is cut before them.
    max_tokens: the most ids to generate, thought included; None is "until the context is full".
    thinking_budget: the most ids of thought; at the limit the closing tag is forced and the answer follows.
    top_logprobs: how many alternatives to report beside each chosen id; None reports none.
    frequency_penalty, presence_penalty: from -2 to 2; an id that was generated already (thought included) loses the
        first from its logit for every time, the second once. logit_bias: (id, from -100 to 100) pairs, added to logits.
    grammar: what the answer must follow, as `engine/grammar.py` reads it; a thought before it is free.
    searches: generation stops where a search in the thought (`<search>...</search>`) is complete.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    thinking_budget: int | None = None
    top_logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    grammar: str | None = None
    searches: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("temperature", self.temperature, 0.0, 2.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("top_k", self.top_k, 0, 1_000_000),
            ("min_p", self.min_p, 0.0, 1.0),
            ("max_tokens", self.max_tokens, 1, 10_000_000),
            ("thinking_budget", self.thinking_budget, 0, 10_000_000),
            ("top_logprobs", self.top_logprobs, 0, 20),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
        ):
            if value is not None and not low <= value <= high:
                raise RequestError(f"{name} is {value}; give a value from {low} to {high}.")
        if self.top_p == 0.0:
            raise RequestError("top_p is 0; give a value above 0, or temperature 0 for greedy decoding.")
        if self.min_p == 1.0:
            raise RequestError("min_p is 1; give a value below 1, or temperature 0 for greedy decoding.")
        if len(self.stop) > 16 or any(not 0 < len(s) <= 256 for s in self.stop):
            raise RequestError("stop takes at most 16 strings of 1 to 256 characters each.")
        if len(self.logit_bias) > 1024 or any(id < 0 or not -100 <= bias <= 100 for id, bias in self.logit_bias):
            raise RequestError("logit_bias takes at most 1024 ids of at least 0, each with a value from -100 to 100.")

    @property
    def cuts(self) -> bool:
        """Whether top-k, top-p or min-p may leave ids that cannot be drawn; greedy decoding draws none."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)

    @property
    def steers(self) -> bool:
        """Whether logits are changed before they are sampled: by penalties or a bias, or by a grammar."""
        return bool(self.frequency_penalty or self.presence_penalty or self.logit_bias or self.grammar is not None)


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine generated for one prompt.

    ids: the generated ids, the closing end-of-sentence id and a stop string's included where there was one.
    logprobs: one natural logarithm an id, under the distribution the id was drawn from (after temperature,
        top-k, top-p and min-p; at temperature 0, which draws nothing, the model's own); 0.0 for an id that was forced.
    policy_version: which weights produced it (one higher after every update).
    cached_tokens: how many of the prompt's ids came from the prefix cache.
    kept: how many ids could have been drawn at each place, the likeliest ones, after top-k, top-p and min-p; 1 for an
        id that was forced. Empty where nothing was cut (`SamplingParams.cuts`): every id could have been drawn.
    given: which ids nobody generated, such as what a search found; their log-probability is 0.0. Empty: none.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason = "stop"
    policy_version: int = 0
    cached_tokens: int = 0
    kept: tuple[int, ...] = ()
    given: tuple[bool, ...] = ()

    @property
    def generated(self) -> int:
        """How many ids were generated."""
        return len(self.ids) - sum(self.given)


@dataclass(frozen=True, slots=True)
class Problem:
    """One question of a task, a pure function of the task's configuration and the seed.

    prompt: the text that the model is given. answer: a correct answer, as text.
    metadata: what the scorer needs beyond the answer (never shown to the model).
    """

    task: str
    prompt: str
    answer: str
    seed: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """How good an answer was: the reward in [0, 1], and what it is made of, part by part."""

    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled and scored answer; `advantage` stays None until the group has been compared."""

    problem: Problem
    completion: Completion
    score: Score
    advantage: float | None = None


class Generate(Protocol):
    """Whatever can continue prompts: the engine, an upstream server, a fake in a test.

    prompts: one sequence of ids a prompt. params: one for all, or one a prompt.
    Returns one completion a prompt, in the prompts' order.
    """

    def __call__(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams]
    ) -> list[Completion]: ...
