"""What runs the model for many at once: `step` is the whole of it, everything else lets requests in and out.

One thread owns an engine; `stream.py` gives it a thread of its own and takes requests from others.
The engine knows ids only. A tokenizer is needed for stop strings, for grammars and to see where a thought is opened.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from denken.chat.template import THINK, open_thought
from denken.engine.cache import Blocks
from denken.engine.device import DeviceRunner
from denken.engine.grammar import Grammars
from denken.engine.limits import Limits
from denken.engine.runner import Draws, Runner
from denken.engine.sampler import Choice, manner_of, not_finite, sample, steer
from denken.engine.scheduler import Chunk, Portions, Scheduler
from denken.engine.sequence import Endings, Output
from denken.engine.sequence import Sequence as Request
from denken.engine.speculate import Speculation
from denken.errors import ConfigError, RequestError
from denken.model.fields import unknown
from denken.model.kernels.decode import ENDS, OPENS, Ahead, Said
from denken.model.mtp import MultiTokenPrediction
from denken.model.transformer import Transformer
from denken.types import Completion, SamplingParams

if TYPE_CHECKING:
    from pathlib import Path

    from denken.tokenizer import Tokenizer

CACHE_BYTES = 512 << 20
DECODING = ("rows", "eager", "graph")
ROW_TYPES = {"bf16": torch.bfloat16, "int8": torch.int8}
WARM_TOKENS = 64
# The noise of so many places is made ahead: each takes Python a microsecond, and a short text has no use for more.
MOST_NOISE = 64


class Engine:
    """Generates for many requests at once, and satisfies `denken.types.Generate`.

    eos_ids: the ids that end a text. end_of_thinking: the ids that close a thought when its budget is used up (see
        sequence.py for the rule), such as those of "\\n</think>\\n\\n"; the first control id among them is the one
        that a thought's end is recognised by (without a tokenizer: the first id). Empty: thoughts are not bounded.
    tokenizer: the model's own, for stop strings, for grammars and to recognise `<think>`.
    cache_tokens: ids whose keys and values are kept, in blocks of block_size; the rows of `rows.py` may take as much
        memory again, as they fill. None: 32768, or more where that many take less than CACHE_BYTES, or on CUDA
        less than a quarter of what is free.
    max_batch_tokens: ids that go through the network in one step. max_sequences: requests that run at a time.
    prefix_reuse: whether prompts take over what earlier texts that began alike have computed.
    speculation: whether, and from what, guesses are made of how texts go on; they change how long a step takes, and
        nothing that is said (see speculate.py).
    portions: whether prompts are read in such portions that those who decode beside them wait little longer than usual.
    ahead: whether `step` goes several times through the network where nobody needs Python in between, for about 20 ms:
        a small network's time between two ids is mostly Python's. What is said is the same.
    head: rounds the output projection of a dense network to so many bits, where kernels run it: half the bytes or less
        for each token, and logits that are near the model's, not its own.
    decoding: how a step is computed. "rows": as is quick on processors, on any device. "eager": with everything on the
        network's device, in plain tensor operations (`device.py`). "graph": the same, and what comes again is replayed
        as a CUDA graph. None: "graph" on CUDA, else "rows". Guesses and a rounded head are for "rows" alone; the others
        make no guesses, and say what they would say with them.
    narrow_rows: what those who decode read keys and values in, where kernels run the network, instead of its type:
        "bf16" (or True) or "int8", an fp32 network's bytes by two and by four, and logits that are near the model's,
        not its own (docs/engine.md says how near).

    layer: the model's own layer for multi-token prediction (`denken.model.mtp`), for better guesses where there is a
        `speculation`, and "rows" compute.

    `policy_version` says how often the weights have changed.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        eos_ids: Collection[int],
        end_of_thinking: Sequence[int] = (),
        tokenizer: Tokenizer | None = None,
        cache_tokens: int | None = None,
        block_size: int = 16,
        max_batch_tokens: int = 1024,
        max_sequences: int = 256,
        prefix_reuse: bool = True,
        speculation: Speculation | None = None,
        portions: bool = False,
        ahead: bool = False,
        head: Literal["int8", "int4"] | None = None,
        narrow_rows: Literal["bf16", "int8"] | bool = False,
        decoding: Literal["rows", "eager", "graph"] | None = None,
        layer: MultiTokenPrediction | None = None,
    ) -> None:
        way = _decoding(model, decoding)
        speculation = speculation if way == "rows" else None
        if cache_tokens is None:
            cache_tokens = _cache_tokens(model, max_sequences)
        if min(block_size, max_batch_tokens, max_sequences) < 1 or cache_tokens < block_size:
            raise ConfigError(
                f"cache_tokens={cache_tokens}, block_size={block_size}, max_batch_tokens={max_batch_tokens} and "
                f"max_sequences={max_sequences} must be at least 1, and the cache must hold at least one block."
            )
        vocabulary = model.config.vocab_size
        outside = sorted(id for id in {*eos_ids, *end_of_thinking} if not 0 <= id < vocabulary)
        if outside:
            raise ConfigError(
                f"eos_ids or end_of_thinking hold {outside}, and the model's ids run from 0 to {vocabulary - 1}; "
                "take the tokenizer and generation_config.json of this very model."
            )
        count = cache_tokens // block_size
        self.policy_version = 0
        self.max_sequences = max_sequences
        self.speculation = speculation
        self._model = model
        self._tokenizer = tokenizer
        self._endings = _endings(eos_ids, end_of_thinking, tokenizer)
        self._no_answer = sorted(self._endings.no_answer)
        self._blocks = Blocks(count, block_size, reuse=prefix_reuse)
        grammars = None if tokenizer is None else Grammars(tokenizer, eos_ids)
        self.limits = Limits(model.config.max_position_embeddings, count * block_size, vocabulary, grammars)
        self._portions = Portions() if portions else None
        self._on_device = way != "rows"
        self._scheduler = Scheduler(
            self._blocks, max_batch_tokens, max_sequences, speculation, self._portions, self._on_device
        )
        layer = None if speculation is None else layer
        self._runner = self._runner_for(way, count, block_size, head, _row_type(narrow_rows), layer)
        self._ahead = ahead
        self._turns_V = torch.zeros(vocabulary, dtype=torch.uint8)
        self._turns_V[sorted(self._endings.turns)] = ENDS
        if self._endings.closer is not None:
            self._turns_V[self._endings.closer] = OPENS
        self._requests: dict[int, Request] = {}
        self._next = 0
        self._others: list[Output] = []

    def _runner_for(
        self,
        way: str,
        count: int,
        block_size: int,
        head: str | None,
        narrow: torch.dtype | None,
        layer: MultiTokenPrediction | None,
    ) -> Runner | DeviceRunner:
        like = next(self._model.parameters())
        if way == "rows":
            return Runner(self._model, like, count, block_size, head, narrow, layer)
        tokens = min(self.context, self.cache_tokens)
        return DeviceRunner(self._model, like, count, block_size, self.max_sequences, tokens, graphs=way == "graph")

    def step(self) -> list[Output]:
        """One pass through the network for everyone whose turn it is, or several (`ahead`), and what came of it."""
        try:
            began = time.perf_counter()
            chunks = self._scheduler.schedule()
            if (ahead := self._go_ahead(chunks)) is not None:
                outputs = self._take(chunks, ahead.said)
                steps = max(len(said.ids) for said in ahead.said)
                self._scheduler.went(ahead.passes, steps, time.perf_counter() - began)
                return outputs
            chunks = self._scheduler.guess(chunks)
            logits_RV = self._runner.run(chunks)
            outputs = self._commit(chunks, logits_RV)
            self._draft(chunks)
            self._scheduler.took(chunks, time.perf_counter() - began)
            return outputs
        except BaseException:
            self.reset()
            raise

    def learn(self, folder: Path, *, base: str = "this model") -> int:
        """Reads an adapter of this model, for requests that name its number. Any thread may call it, at any time.

        folder: in PEFT's format. base: what the model is called, for errors.
        Raises CheckpointError where the adapter is damaged, another model's, or more than `adapters.py` can add.
        """
        return self._runner.adapters.learn(folder, base)

    def add(
        self,
        prompt_ids: Iterable[int],
        params: SamplingParams,
        *,
        thinking: bool = True,
        at_once: bool = False,
        adapter: int = 0,
    ) -> int:
        """Queues a prompt and returns the request's number.

        thinking: the prompt ends inside a thought that it opened. at_once: one output, when the request has finished.
        adapter: a number that `learn` gave; 0 is the model as it is.
        Raises RequestError as `check` does.
        """
        ids = list(prompt_ids)
        limit = self.check(ids, params)
        self._runner.adapters.check(adapter)
        seed = secrets.randbits(64) if params.seed is None else params.seed
        request = Request(
            self._next,
            ids,
            params,
            limit,
            self._endings,
            seed,
            policy_version=self.policy_version,
            tokenizer=self._tokenizer,
            thinking=thinking,
            at_once=at_once,
            matcher=self.limits.matcher(params),
            adapter=adapter,
        )
        self._next += 1
        self._requests[request.request] = request
        self._scheduler.add(request)
        return request.request

    def check(self, prompt_ids: Sequence[int], params: SamplingParams) -> int:
        """As `Limits.check`."""
        return self.limits.check(prompt_ids, params)

    def abort(self, request: int) -> Output | None:
        """Ends a request at once; its blocks are free when this returns.

        Returns what had not been handed out, with finish_reason "abort"; None if there is no such request (any more).
        """
        sequence = self._requests.pop(request, None)
        if sequence is None:
            return None
        self._scheduler.remove(sequence)
        sequence.finish_reason = "abort"
        return sequence.release()

    def warm(self, ids: Sequence[int], tokens: int = WARM_TOKENS, *, adapter: int = 0) -> bool:
        """Computes up to about `tokens` more ids of a text that is likely to be asked for, into blocks that stay free.

        Meant for when nothing else is to be done, and does nothing otherwise: no request waits longer for it than for
        a step, and no block is held when this returns. False when nothing is left to compute, or there is no room.
        """
        size = self._blocks.size
        whole = min(len(ids), self.context, self._blocks.count * size) // size * size
        if self._requests or not self._blocks.reuse or whole == 0:
            return False
        # One id more, for the last whole block would otherwise be left to whoever samples after it.
        text = Request(-1, [*ids[:whole], ids[0]], SamplingParams(), 1, Endings(frozenset()), 0, adapter=adapter)
        self._blocks.extend_from_known(text)
        left = whole - text.computed
        count = min(left, max(size, min(tokens, self._scheduler.max_batch_tokens) // size * size))
        fits = self._blocks.grow(text, count)
        if fits and count:
            self._blocks.remember(text, count)
            try:
                self._runner.run([Chunk(text, text.computed, count, decodes=False)])
            except BaseException:
                self.reset()
                raise
        self._blocks.release(text)
        return fits and count < left

    def weights_changed(self) -> None:
        """To be called after an update of the model: what was computed before is forgotten, and the version rises.

        Requests under way go on with the new weights, their texts so far computed anew; their completions carry the
        version they began with.
        """
        self.policy_version += 1
        self._scheduler.preempt_all()
        self._blocks.forget_all()
        self._runner.forget()

    def reset(self) -> None:
        """Drops every request and everything computed: the way back to a clean state after a failure."""
        self._requests.clear()
        self._others.clear()
        # New books rather than emptied ones: whatever failed may have left the old ones half written.
        self._blocks = Blocks(self._blocks.count, self._blocks.size, reuse=self._blocks.reuse)
        self._scheduler = Scheduler(
            self._blocks,
            self._scheduler.max_batch_tokens,
            self.max_sequences,
            self.speculation,
            self._portions,
            self._on_device,
        )
        self._runner.reset()

    @property
    def has_work(self) -> bool:
        return bool(self._requests or self._others)

    @property
    def context(self) -> int:
        """The most ids that a prompt and its answer have together."""
        return self.limits.context

    @property
    def cache_tokens(self) -> int:
        """The most ids whose keys and values are kept, of all requests together."""
        return self.limits.cache

    @property
    def free_blocks(self) -> int:
        """Blocks that no request holds, those kept for reuse included."""
        return self._blocks.free

    @property
    def running(self) -> int:
        return len(self._scheduler.running)

    @property
    def waiting(self) -> int:
        return len(self._scheduler.waiting)

    def __call__(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams], *, adapter: int = 0
    ) -> list[Completion]:
        """One completion a prompt, in order; a prompt whose thought is open at its end is continued as a thought."""
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
        if len(each) != len(prompts):
            raise RequestError(f"There are {len(prompts)} prompts and {len(each)} SamplingParams; give one for each.")
        parts: dict[int, list[Output]] = {}
        versions: dict[int, int] = {}
        others: list[Output] = []
        try:
            for prompt, own in zip(prompts, each, strict=True):
                in_thought = self._tokenizer is not None and open_thought(prompt, self._tokenizer)
                request = self.add(prompt, own, thinking=in_thought, at_once=True, adapter=adapter)
                parts[request], versions[request] = [], self.policy_version
            left = set(parts)
            while left:
                for output in self.step():
                    parts.get(output.request, others).append(output)
                    if output.finish_reason is not None:
                        left.discard(output.request)
        except BaseException:
            for request in parts:
                self.abort(request)
            raise
        self._others += others
        return [_join(outputs, versions[request]) for request, outputs in parts.items()]

    def _go_ahead(self, chunks: list[Chunk]) -> Ahead | None:
        """What everybody says in several steps, drawn without Python; None where that is not possible: somebody reads,
        or has no part in the step; a next id hangs on more than its logits; steps are long; or blocks or rows are too
        few. The call makes guesses of its own."""
        steps = self._scheduler.lead.steps
        if not self._ahead or steps == 1 or not 0 < len(chunks) == self.running or not self._runner.goes_ahead:
            return None
        runs = [chunk.sequence.free_run if chunk.decodes else (0, 0) for chunk in chunks]
        if (0, 0) in runs or (steps := self._scheduler.reserve(chunks, min(steps, max(map(max, runs))))) == 1:
            return None
        if any(chunk.sequence.params.temperature for chunk in chunks):
            steps = min(steps, MOST_NOISE)
        draws = []
        for chunk, (limit, behind) in zip(chunks, runs, strict=True):
            params = chunk.sequence.params
            count = min(max(limit, behind), steps) if params.temperature else 0
            noise = [chunk.sequence.noise(place) for place in range(count)]
            draws.append(Draws(limit, behind, manner_of(params), [*noise, *[0.0] * (steps - count)]))
        return self._runner.ahead(chunks, draws, self._turns_V, steps, self.speculation)

    def _take(self, chunks: list[Chunk], said: list[Said]) -> list[Output]:
        """Appends what was said ahead, as far as it is what would have been said step by step."""
        if not all(map(math.isfinite, (logprob for each in said for logprob in each.logprobs))):
            raise not_finite()
        outputs, self._others = self._others, []
        for chunk, each in zip(chunks, said, strict=True):
            sequence, before = chunk.sequence, chunk.known
            # Behind an end, or ids that were forced, what follows was drawn behind another text.
            count = sequence.append_all(each.ids, each.logprobs, each.kept)
            sequence.computed = before + count - 1
            self._blocks.remember(sequence, 0)
            if self.speculation is not None:
                # What a call took in and the text did not is no part of it.
                sequence.learnt = min(sequence.learnt, len(sequence.ids))
                self.speculation.take_in(sequence)
            self._release(sequence, outputs)
        return outputs

    def _release(self, sequence: Request, outputs: list[Output]) -> None:
        """Adds what can be handed out, and lets go of a request that has finished."""
        output = sequence.release()
        if output is not None:
            outputs.append(output)
        if sequence.finish_reason is not None:
            del self._requests[sequence.request]
            self._scheduler.remove(sequence)

    @torch.inference_mode()
    def _commit(self, chunks: list[Chunk], logits_RV: Tensor) -> list[Output]:
        outputs, self._others = self._others, []
        logits_RV = logits_RV.float()
        choices = self._draw_at_once(chunks, logits_RV)
        end = 0
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.computed = chunk.known
            if not chunk.last:
                continue
            start, end = end, end + chunk.due
            self._say(chunk, logits_RV[start:end], choices[start:end])
            self._release(sequence, outputs)
        return outputs

    def _draft(self, chunks: list[Chunk]) -> None:
        """What the network's own layer says ahead of the texts that go on, where it has one and that pays."""
        if self.speculation is None or isinstance(self._runner, DeviceRunner) or self._runner.drafts is None:
            return
        going = [chunk for chunk in chunks if chunk.sequence.finish_reason is None]
        if going and (depth := self.speculation.depth(self.running)):
            said = self._runner.draft(going, depth)
            for chunk in going:
                chunk.sequence.surmise = said.get(chunk.sequence.request, ())

    def _say(self, chunk: Chunk, logits_RV: Tensor, choices: list[Choice | None]) -> None:
        """Appends what was drawn after the text, and after each id of the guess as far as the text is the same."""
        sequence, before, guess = chunk.sequence, chunk.known, list(chunk.guess)
        row = 0
        while True:
            choice = choices[row]
            if choice is None or (row and sequence.owes_answer):
                (choice,) = self._draw([sequence], logits_RV[row : row + 1])
            sequence.append(choice.id, choice.logprob, choice.top, choice.kept)
            row = len(sequence.ids) - before
            if sequence.finish_reason is not None or sequence.ids[before:] != guess[:row]:
                break
        right = _in_common(sequence.ids[before:], guess)
        # One id at least is left, for the next to be sampled after.
        sequence.computed = min(before + right, len(sequence.ids) - 1)
        if self.speculation is not None:
            behind = [choice.id for choice in choices[right + 1 :] if choice is not None]
            self.speculation.checked(sequence, sequence.ids[before:], len(guess), right, behind)

    def _draw_at_once(self, chunks: list[Chunk], logits_RV: Tensor) -> list[Choice | None]:
        """A choice for each row; None behind a guess where it depends on the choices before."""
        due = [(chunk.sequence, ahead) for chunk in chunks for ahead in range(chunk.due)]
        now = [row for row, (sequence, ahead) in enumerate(due) if not (ahead and sequence.params.steers)]
        choices: list[Choice | None] = [None] * len(due)
        own_RV = logits_RV if len(now) == len(due) else logits_RV[now]
        drawn = self._draw([due[row][0] for row in now], own_RV, [due[row][1] for row in now])
        for row, choice in zip(now, drawn, strict=True):
            choices[row] = choice
        return choices

    def _draw(self, sequences: list[Request], logits_RV: Tensor, ahead: Sequence[int] = ()) -> list[Choice]:
        """ahead: how many guessed ids stand before each row's place."""
        ahead = ahead or [0] * len(sequences)
        for row, sequence in enumerate(sequences):
            if ahead[row]:
                continue
            if sequence.params.steers:
                steer(logits_RV[row], sequence.params, sequence.counts, sequence.mask)
            # A grammar says itself whether an answer may be empty.
            if sequence.owes_answer and sequence.matcher is None:
                logits_RV[row, self._no_answer] = -torch.inf
        noise = [sequence.noise(places) for sequence, places in zip(sequences, ahead, strict=True)]
        return sample(logits_RV, [sequence.params for sequence in sequences], noise)


def _in_common(ids: Sequence[int], others: Sequence[int]) -> int:
    """How many ids two texts begin with together."""
    pairs = zip(ids, others, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(ids), len(others)))


def _decoding(model: Transformer, asked: str | None) -> str:
    """How steps are computed, where nobody says, and whether what was asked for can be had."""
    device = next(model.parameters()).device
    if asked is None:
        return "graph" if device.type == "cuda" else "rows"
    if asked not in DECODING:
        raise ConfigError(unknown("decoding", asked, DECODING))
    if asked == "graph" and device.type != "cuda":
        raise ConfigError(f"Graphs are CUDA's, and the model is on {device}; move it there, or say decoding='eager'.")
    return asked


def _row_type(asked: str | bool) -> torch.dtype | None:
    """What rows are to be kept in; None: the network's type."""
    if asked is False:
        return None
    name = "bf16" if asked is True else asked
    if name not in ROW_TYPES:
        raise ConfigError(unknown("type of rows", name, list(ROW_TYPES)))
    return ROW_TYPES[name]


def _cache_tokens(model: Transformer, max_sequences: int) -> int:
    """How many ids are cached where nobody says: room for many texts of a small model, for a few of a large one."""
    layout = model.cache_layout
    numbers = layout.layers * layout.kv_heads * (layout.key_size + layout.value_size)
    like = next(model.parameters())
    have = CACHE_BYTES
    if like.device.type == "cuda":
        have = max(have, torch.cuda.mem_get_info(like.device)[0] // 4)
    fitting = have // max(1, numbers * like.element_size())
    return max(32768, min(fitting, max_sequences * model.config.max_position_embeddings))


def _endings(eos_ids: Collection[int], end_of_thinking: Sequence[int], tokenizer: Tokenizer | None) -> Endings:
    if not end_of_thinking:
        return Endings(frozenset(eos_ids))
    if tokenizer is None:
        return Endings(frozenset(eos_ids), tuple(end_of_thinking), end_of_thinking[0])
    closer = next((id for id in end_of_thinking if tokenizer.is_control(id)), None)
    if closer is None:
        raise ConfigError(
            f"end_of_thinking is {list(end_of_thinking)}, none of which is a control id of the tokenizer; "
            "give the ids of the closing tag, such as those of </think>, with what is to follow it."
        )
    opener = tokenizer.control(THINK) if tokenizer.has_control(THINK) else None
    return Endings(frozenset(eos_ids), tuple(end_of_thinking), closer, opener)


def _join(outputs: list[Output], policy_version: int) -> Completion:
    finish_reason = outputs[-1].finish_reason
    assert finish_reason is not None
    return Completion(
        tuple(id for output in outputs for id in output.ids),
        tuple(logprob for output in outputs for logprob in output.logprobs),
        finish_reason,
        policy_version,
        outputs[-1].cached_tokens,
        tuple(kept for output in outputs for kept in output.kept),
    )
