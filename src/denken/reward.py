"""What a sampled answer is paid for: accuracy, format, language and length, weighed and each reported by itself.

Pure: rollouts and what they say in, scores out. Whether an answer is right was judged by its task; `Reward` adds what
can be seen of the reply alone, as DeepSeek-R1 does (arXiv 2501.12948: accuracy and format in section 2.2.2, language
consistency in section 2.3.2). Departures from the papers:

1. R1 adds its rewards; here they are a weighted mean, so that a reward stays in [0, 1] whatever is switched on. Within
   a group that is the same up to one factor, which normalised advantages do not see.
2. Length shaping is that of Kimi k1.5 (arXiv 2501.12599, section 2.3.3), from -0.5 to 0.5. In the mean it counts with
   0.5 added, for the same reason; `parts["length"]` is the published number.
3. How a word's language is told is `denken.language`'s affair; the paper does not say.

What a search found is nobody's reply: its words and its length do not count.

Shaping of overlong replies (DAPO) belongs to that algorithm, and is in `train`.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Mapping, Sequence

from denken import language as languages
from denken.chat.template import END_THINK, THINK, own_words
from denken.errors import ConfigError
from denken.language import LANGUAGES, Language
from denken.rollout import Reply
from denken.types import Completion, Problem, Rollout, Score

PARTS = ("accuracy", "format", "language", "length")
_LARGEST_WEIGHT = 1e6


class Reward:
    """The weighted mean of the parts, for all samples of one problem at a time.

    weights: part to weight; a part that is not named weighs nothing, and is reported all the same.
    Raises ConfigError for an unknown part, a negative weight, or when nothing weighs anything.

    >>> reward = Reward({"accuracy": 1.0, "format": 0.1})
    >>> [score.reward for score in reward(group, replies)]  # doctest: +SKIP
    [1.0, 0.09090909090909091, 0.0]
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        for name, weight in weights.items():
            if name not in PARTS:
                near = difflib.get_close_matches(name, PARTS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"the parts are {', '.join(PARTS)}."
                raise ConfigError(f"There is no part {name!r} of a reward; {hint}")
            if not 0.0 <= weight <= _LARGEST_WEIGHT:
                raise ConfigError(f"The reward's weight of {name} is {weight}; give one from 0 to {_LARGEST_WEIGHT:g}.")
        self.weights = {name: float(weights.get(name, 0.0)) for name in PARTS}
        self._total = sum(self.weights.values())
        if not self._total > 0.0:
            raise ConfigError("No part of the reward weighs anything; give accuracy = 1.0 in [reward].")

    def __call__(self, group: Sequence[Rollout], replies: Sequence[Reply]) -> list[Score]:
        """One score a rollout, in order. group: every sample of one problem. replies: what each of them says.

        Parts are those of `PARTS` and the task's own, which are called `task.NAME` where the name is taken.
        """
        lengths = [rollout.completion.generated for rollout in group]
        return [self._score(rollout, reply, lengths) for rollout, reply in zip(group, replies, strict=True)]

    def _score(self, rollout: Rollout, reply: Reply, lengths: Sequence[int]) -> Score:
        judged = rollout.score
        parts = {
            "accuracy": judged.reward,
            "format": format_reward(reply, rollout.completion),
            "language": language_reward(own_words(reply.thought), language_asked(rollout.problem)),
            "length": length_reward(rollout.completion.generated, lengths, judged.reward == 1.0),
        }
        weighed = parts | {"length": parts["length"] + 0.5}
        mean = math.fsum(self.weights[name] * weighed[name] for name in PARTS) / self._total
        own = {f"task.{name}" if name in parts else name: value for name, value in judged.parts.items()}
        return Score(min(1.0, max(0.0, mean)), {**parts, **own})


def format_reward(reply: Reply, completion: Completion) -> float:
    """1.0 for exactly one closed thought and then an answer that is not empty and was ended by the model; else 0.0.

    The thought may be empty: whether thinking helps is for accuracy to say. A tag of thinking that is only written out
    in letters, in thought or answer, is no format either, so that nothing is gained by showing one.
    """
    written = any(tag in text for tag in (THINK, END_THINK) for text in (reply.thought, reply.answer))
    said = any(unicodedata.category(character)[0] not in "ZC" for character in reply.answer)  # no blank, no control
    ended = completion.finish_reason == "stop"
    return float(reply.tags_in_place and not reply.cut and not written and said and ended)


def language_reward(thought: str, language: Language) -> float:
    """The share of the thought's words that are in the language, 0.0 to 1.0; 1.0 where it has no words.

    >>> language_reward("also 3*4=12 and fertig", "de")
    0.6666666666666666
    """
    return languages.share(thought, language)


def language_asked(problem: Problem) -> Language:
    """The language that the thought should be in: the problem's `metadata["language"]`, or else its prompt's."""
    given = problem.metadata.get("language")
    return next((each for each in LANGUAGES if each == given), None) or languages.detect(problem.prompt)


def length_reward(tokens: int, group_lengths: Sequence[int], correct: bool) -> float:
    """Kimi k1.5's reward of length, -0.5 to 0.5: the shorter among its group the better, and 0 at best when wrong.

    tokens: this sample's length. group_lengths: those of all samples of the problem, this one's among them.

    With s = 0.5 - (tokens - min) / (max - min): s for a right answer, min(0, s) for a wrong one; 0 where all are
    equally long (arXiv 2501.12599, section 2.3.3).

    >>> length_reward(100, [100, 200, 300], True), length_reward(100, [100, 200, 300], False)
    (0.5, 0.0)
    """
    shortest, longest = min(group_lengths), max(group_lengths)
    if longest == shortest:
        return 0.0
    shaped = 0.5 - (tokens - shortest) / (longest - shortest)
    return shaped if correct else min(0.0, shaped)
