"""What an engine can be asked for: known before anything is computed, and to whoever asks it from another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from denken.engine.grammar import Grammars, Matcher
from denken.errors import RequestError
from denken.types import SamplingParams


@dataclass(frozen=True, slots=True)
class Limits:
    """context: the most ids that a prompt and its answer have together. cache: the most whose keys and values are kept.
    vocabulary: how many ids there are. grammars: None where there is no tokenizer."""

    context: int
    cache: int
    vocabulary: int
    grammars: Grammars | None

    def check(self, prompt_ids: Sequence[int], params: SamplingParams) -> int:
        """The most ids that can be generated; RequestError for what can never be served. Any thread may ask."""
        length, context, cache, vocabulary = len(prompt_ids), self.context, self.cache, self.vocabulary
        if length == 0:
            raise RequestError("The prompt is empty; give at least one id.")
        if not (min(prompt_ids) >= 0 and max(prompt_ids) < vocabulary):
            raise RequestError(
                f"The prompt's ids run from {min(prompt_ids)} to {max(prompt_ids)}, the model's from 0 to "
                f"{vocabulary - 1}; encode the prompt with this model's own tokenizer."
            )
        if length >= context:
            raise RequestError(
                f"The prompt has {length} tokens and the model's context is {context}, of which at least one must be "
                f"left for the answer; shorten the prompt to {context - 1} tokens."
            )
        if length >= cache:
            raise RequestError(
                f"The prompt has {length} tokens and the engine's cache holds {cache}, of which at least one must be "
                f"left for the answer; shorten the prompt or start the engine with more cache_tokens."
            )
        if params.stop and self.grammars is None:
            raise RequestError("Stop strings need a tokenizer, and this engine runs without one; leave `stop` empty.")
        if outside := [id for id, _ in params.logit_bias if id >= vocabulary]:
            raise RequestError(f"logit_bias names the id {outside[0]}, and the model's run from 0 to {vocabulary - 1}.")
        self.matcher(params)
        return min(params.max_tokens or context, context - length, cache - length)

    def matcher(self, params: SamplingParams) -> Matcher | None:
        """Where an answer stands in the grammar that it must follow; None where it is free."""
        if params.grammar is None:
            return None
        if self.grammars is None:
            raise RequestError("A grammar needs a tokenizer, and this engine runs without one; leave `grammar` out.")
        return self.grammars.matcher(params.grammar)
