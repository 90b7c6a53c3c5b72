"""Which sampled answers are worth learning from: rejection sampling as DeepSeek-R1 does it (arXiv 2501.12948, 2.3.3).

R1 samples several answers a problem and keeps correct ones; thoughts that mix languages, long paragraphs and code
blocks are dropped. Departures: a thought's length is limited instead of its paragraphs'; code blocks are no ground (a
model that was never shown code writes none); which ones of several right answers are kept is said here: the first that
were drawn, up to `keep_per_problem`, for short ones only would teach to think less.

Pure: what a model said and what its task thought of it in, a record or a reason out. Sampling is `sample.py`'s.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from denken.chat.template import own_words
from denken.config import SampleSection
from denken.reward import language_asked, language_reward
from denken.rollout import Reply
from denken.types import Rollout

CUT, TAGS, WRONG, LONG, MIXED = "cut off", "no single closed thought", "wrong", "thought too long", "mixed languages"
TWICE, ENOUGH = "the same as another", "enough of this problem"
SPELT, OVER, EXAMINED = "control tokens spelt out", "too long for who learns", "asked in the evaluation too"
# How DeepSeek's, Qwen's and Llama's vocabularies write control tokens, and the tags of a thought.
_CONTROLS = re.compile(r"<｜[^｜<>]{1,60}｜>|<\|[^|<>]{1,60}\|>|</?(?:think|search|information)>")


def reason(rollout: Rollout, reply: Reply, thought_tokens: int, section: SampleSection) -> str | None:
    """Why an answer is not kept; None for one that is, as far as it alone can be judged."""
    if rollout.completion.finish_reason != "stop" or reply.cut:
        return CUT
    if not reply.tags_in_place or not reply.answer:
        return TAGS
    if section.keep == "correct" and rollout.score.reward < section.reward:
        return WRONG
    if section.max_thought and thought_tokens > section.max_thought:
        return LONG
    if section.language:
        asked = language_asked(rollout.problem)
        if language_reward(own_words(reply.thought), asked) < section.language:
            return MIXED
    return None


def spells(reply: Reply, names: Collection[str]) -> bool:
    """Whether an answer from elsewhere writes out control tokens, of whoever learns or of a model family.

    Nothing that is learnt from becomes a control token by being spelt, but a model must not learn to spell them either,
    and what a thought's own tags mean (a search, the end of a thought) is for whoever sampled it here to say.
    """
    return any(
        _CONTROLS.search(text) or any(name in text for name in names if len(name) > 2)
        for text in (reply.thought, reply.answer)
    )


def chosen(records: Iterable[Mapping[str, Any]], most: int, counts: Counter[str]) -> Iterator[Mapping[str, Any]]:
    """The records without repetitions, at most `most` of one question, in order. What is left out is counted."""
    seen: set[tuple[str, str, str]] = set()
    asked: Counter[str] = Counter()
    for record in records:
        question, answer = record["messages"][0]["content"], record["messages"][-1]
        said = (question, answer["reasoning_content"], answer["content"])
        if said in seen:
            counts[TWICE] += 1
        elif asked[question] >= most:
            counts[ENOUGH] += 1
        else:
            seen.add(said)
            asked[question] += 1
            yield record
