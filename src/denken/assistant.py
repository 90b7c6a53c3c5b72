"""A model folder, ready to be asked: the tokenizer, the chat format, the engine and the parser put together.

>>> import denken
>>> denken.load("bundled").ask("What is 17 times 23?").text        # doctest: +SKIP

The parts know nothing of one another; this is where they meet, for Python, the command line and the server alike.
PyTorch is imported when a model is loaded, not before.
"""

from __future__ import annotations

import difflib
import json
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from denken.chat.message import Message
from denken.chat.parser import Event, Parser
from denken.chat.template import END_THINK, EOS, end_of_thinking, open_thought, render
from denken.errors import CheckpointError, RequestError, UnknownNameError
from denken.serve.speaker import Ask, ContextFull, Piece, TextAsk, TokenLogprob, Unsupported, Usage
from denken.tokenizer import Tokenizer
from denken.types import FinishReason, SamplingParams

if TYPE_CHECKING:
    from denken.engine.engine import Engine
    from denken.engine.stream import Stream

BUNDLED = Path(__file__).parent / "bundled"
# Less room than this behind the prompt cannot hold an answer.
LEAST_ROOM = 8
SMALL_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished reply; `str(answer)` is its text.

    thought: what was thought before. *_tokens: as in `Usage`. seconds: from the question to the last token.
    finish_reason: "stop" where the model ended by itself or at a stop string, "length" where it was cut.
    """

    thought: str
    text: str
    prompt_tokens: int
    thought_tokens: int
    answer_tokens: int
    cached_tokens: int
    seconds: float
    finish_reason: FinishReason

    def __str__(self) -> str:
        return self.text


class Chunk(Protocol):
    """What the engine's stream hands over; the fields are those of `denken.engine.sequence.Output`."""

    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def logprobs(self) -> Sequence[float]: ...
    @property
    def top_logprobs(self) -> Sequence[Sequence[tuple[int, float]]]: ...
    @property
    def finish_reason(self) -> FinishReason | None: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def surplus(self) -> int: ...


class Reply:
    """One answer in the making. Iterate over it once, with `for` or `async for`; `usage` and the rest grow with it."""

    def __init__(
        self,
        stream: Stream,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        params: SamplingParams,
        thinking: bool,
        most_tokens: int,
    ):
        self.most_tokens = most_tokens
        self._stream, self._tokenizer = stream, tokenizer
        self._prompt, self._params, self._thinking = prompt, params, thinking
        self._parser = Parser(tokenizer, thinking=thinking)
        self._closer = tokenizer.control(END_THINK)
        self._controls = frozenset(tokenizer.control_ids.values())
        self._inside_thought = thinking
        self._untold: list[TokenLogprob] = []
        self.usage = Usage(prompt_tokens=len(prompt))
        self.finish_reason: FinishReason = "abort"
        self.stop_string: str | None = None

    async def begin(self) -> None:
        """Whatever could be wrong was found when it was made."""

    def __iter__(self) -> Generator[Piece, None, None]:
        with closing(self._stream.generate_sync(self._prompt, self._params, thinking=self._thinking)) as chunks:
            for chunk in chunks:
                yield from self._read(chunk)

    async def aclose(self) -> None:
        """Nothing is open before it is iterated over, and the iterator closes what it opens."""

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        async with aclosing(self._stream.generate(self._prompt, self._params, thinking=self._thinking)) as chunks:
            async for chunk in chunks:
                for piece in self._read(chunk):
                    yield piece

    def _read(self, chunk: Chunk) -> list[Piece]:
        """The pieces that a chunk completes; `usage` and `finish_reason` are those after it."""
        pieces: list[Piece] = []
        thought, answer = self.usage.thought_tokens, self.usage.answer_tokens
        for index, token in enumerate(chunk.ids):
            kind: Literal["think", "answer"] = "think" if self._inside_thought else "answer"
            thought, answer = (thought + 1, answer) if self._inside_thought else (thought, answer + 1)
            if token == self._closer:
                self._inside_thought = False
            if self._params.top_logprobs is not None and token not in self._controls:
                self._untold.append(self._logprob(chunk, index))
            pieces += self._pieces(self._parser.push([token]), kind)
        self.usage = replace(
            self.usage, thought_tokens=thought, answer_tokens=answer, cached_tokens=chunk.cached_tokens
        )
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
            pieces += self._pieces(self._parser.finish(), "answer")
        if chunk.surplus:
            ending = "".join(piece.text for piece in pieces)[-chunk.surplus :]
            self.stop_string = next((stop for stop in self._params.stop if ending.startswith(stop)), None)
        return _joined(_cut(pieces, chunk.surplus))

    def _pieces(self, events: Sequence[Event], kind: Literal["think", "answer"]) -> Iterator[Piece]:
        """The events as pieces; what is to be told of tokens goes along with the first, or alone."""
        tokens, self._untold = tuple(self._untold), []
        for event in events:
            yield Piece(event.kind, event.text, tokens)
            tokens = ()
        if tokens:
            yield Piece(kind, "", tokens)

    def _logprob(self, chunk: Chunk, index: int) -> TokenLogprob:
        top = chunk.top_logprobs[index] if chunk.top_logprobs else ()
        return TokenLogprob(
            self._tokenizer.token_bytes(chunk.ids[index]),
            chunk.logprobs[index],
            tuple((self._tokenizer.token_bytes(other), value) for other, value in top),
        )


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Stretches of thought, or of answer, that follow each other are one: several tokens may come at a time."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and piece.kind != "tool" and piece.kind == joined[-1].kind:
            last = joined.pop()
            piece = Piece(piece.kind, last.text + piece.text, last.tokens + piece.tokens)
        joined.append(piece)
    return joined


def _cut(pieces: list[Piece], surplus: int) -> list[Piece]:
    """The pieces without the last `surplus` characters: a stop string and what came with it."""
    kept = list(pieces)
    while surplus and kept:
        last = kept.pop()
        if len(last.text) > surplus:
            kept.append(replace(last, text=last.text[:-surplus]))
        surplus -= min(surplus, len(last.text))
    return kept


class Assistant:
    """A model that can be asked. Made by `load`; safe to use from several threads at once.

    name: what it is called. context: tokens that fit, prompt and reply together.
    defaults: the sampling that its makers recommend (generation_config.json). created: seconds since 1970.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        stream: Stream,
        *,
        context: int,
        defaults: SamplingParams | None = None,
        created: int = 0,
    ):
        self.name, self.tokenizer, self.context, self.created = name, tokenizer, context, created
        self.defaults = defaults or SamplingParams()
        self._stream = stream
        self._longest_token = max(len(tokenizer.token_bytes(id_)) for id_ in range(tokenizer.vocab_size))
        self._started = False
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The engine itself, for work in batches. It may be used directly until the first question is asked."""
        return self._stream.engine

    def ask(
        self,
        question: str | Sequence[Message],
        *,
        params: SamplingParams | None = None,
        thinking: bool = True,
    ) -> Answer:
        """The whole answer to a question or a conversation.

        Raises RequestError where there is nothing to answer or more than fits into the context.
        """
        started = time.perf_counter()
        reply = self.reply(question, params, thinking=thinking)
        texts = {"think": "", "answer": "", "tool": ""}
        for piece in reply:
            texts[piece.kind] += piece.text
        return Answer(
            thought=texts["think"].strip(),
            text=texts["answer"].strip(),
            prompt_tokens=reply.usage.prompt_tokens,
            thought_tokens=reply.usage.thought_tokens,
            answer_tokens=reply.usage.answer_tokens,
            cached_tokens=reply.usage.cached_tokens,
            seconds=time.perf_counter() - started,
            finish_reason=reply.finish_reason,
        )

    def stream(
        self, messages: str | Sequence[Message], params: SamplingParams | None = None, thinking: bool = True
    ) -> Generator[Event, None, None]:
        """The answer as it is made: `think` events, then `answer` events. Closing the iterator stops the model."""
        with closing(self.reply(messages, params, thinking=thinking).__iter__()) as pieces:
            for piece in pieces:
                if piece.text:
                    yield Event(piece.kind, piece.text)

    def reply(
        self,
        question: str | Sequence[Message] | Ask,
        params: SamplingParams | None = None,
        *,
        thinking: bool = True,
    ) -> Reply:
        """The answer as it is made, with what it costs. Raises RequestError before anything is generated."""
        ask = self._ask(question, params, thinking)
        prompt = self._prompt(ask)
        with self._lock:
            if not self._started:
                self._stream.start()
                self._started = True
        # After a tool's output the turn goes on where no thought is open, whatever was asked for.
        opened = open_thought(prompt, self.tokenizer)
        room = self.context - len(prompt)
        most = min(ask.params.max_tokens or room, room)
        return Reply(self._stream, self.tokenizer, prompt, ask.params, opened, most)

    def complete(self, ask: TextAsk) -> Reply:
        """A text that goes on as it stands."""
        raise Unsupported(f"{self.name} does not continue bare texts; send a conversation to /v1/chat/completions.")

    def count(self, ask: Ask) -> int:
        """How many tokens a conversation has, up to where the answer begins."""
        return len(self._prompt(ask))

    def _ask(self, question: str | Sequence[Message] | Ask, params: SamplingParams | None, thinking: bool) -> Ask:
        if isinstance(question, Ask):
            return question
        messages = [Message("user", question)] if isinstance(question, str) else list(question)
        return Ask(messages, params or self.defaults, thinking)

    def _prompt(self, ask: Ask) -> tuple[int, ...]:
        self._check(ask.messages)
        prompt = render(ask.messages, self.tokenizer, thinking=ask.thinking).ids
        if len(prompt) + LEAST_ROOM > self.context:
            raise ContextFull(
                f"The conversation has {len(prompt)} tokens, and {self.name} takes {self.context}, "
                f"of which at least {LEAST_ROOM} are for the answer; shorten it or begin a new one."
            )
        return prompt

    def close(self) -> None:
        """Stops the engine's thread; what is still being generated is aborted."""
        if self._started:
            self._stream.close()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, messages: Sequence[Message]) -> None:
        if not messages:
            raise RequestError("There is no message to answer; send at least one from the user.")
        last = messages[-1]
        if last.role not in ("user", "tool"):
            raise RequestError(
                f"The last message is the {last.role}'s; end with the user's, for it is what is answered."
            )
        if not last.content.strip():
            raise RequestError("The question is empty; write what you want to know.")
        # What cannot fit however it is cut is refused before time is spent on cutting it.
        characters = sum(len(message.content) for message in messages)
        if characters > self.context * self._longest_token:
            raise ContextFull(
                f"The conversation has {characters} characters, and {self.name} takes {self.context} tokens, "
                "far fewer than that comes to; shorten it or begin a new one."
            )


def load(name_or_folder: str | Path = "bundled", *, threads: int | None = None) -> Assistant:
    """Loads a model that can be asked.

    name_or_folder: "bundled" for the model that comes with denken, or a folder in the Hugging Face layout
        (config.json, *.safetensors, tokenizer.json; generation_config.json where there is one).
    threads: processor threads for the network; PyTorch's own choice where it is None.
    Raises UnknownNameError where there is no such model, CheckpointError or ConfigError where it cannot be used.
    """
    folder = _find(name_or_folder)
    import torch

    from denken.engine.engine import Engine
    from denken.engine.stream import Stream
    from denken.model.checkpoint import load as load_weights

    if threads is not None:
        torch.set_num_threads(threads)
    tokenizer = Tokenizer.load(folder)
    weights = sorted(folder.glob("*.safetensors"))
    # One token at a time, a processor is faster in float32 than in bfloat16, where memory is no concern.
    small = sum(path.stat().st_size for path in weights) < SMALL_BYTES
    model = load_weights(folder, dtype=torch.float32 if small else None)
    model.eval()
    generation = _read_json(folder / "generation_config.json")
    engine = Engine(
        model,
        eos_ids=_eos_ids(generation, _read_json(folder / "config.json"), tokenizer),
        end_of_thinking=end_of_thinking(tokenizer),
        tokenizer=tokenizer,
    )
    return Assistant(
        _name(folder),
        tokenizer,
        Stream(engine),
        context=model.config.max_position_embeddings,
        defaults=_defaults(generation, folder),
        created=int(weights[0].stat().st_mtime) if weights else 0,
    )


def _name(folder: Path) -> str:
    """What a model is called: its folder's name, or its run's where training put it into a folder `model`."""
    if folder == BUNDLED:
        return "bundled"
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def _find(name_or_folder: str | Path) -> Path:
    """The folder of a model, or an UnknownNameError that says what there is."""
    if str(name_or_folder) == "bundled":
        if not (BUNDLED / "config.json").is_file():
            raise UnknownNameError(
                "This copy of denken has no bundled model; train one with `denken train recipes/bundled`, "
                "then name its folder."
            )
        return BUNDLED
    folder = Path(name_or_folder).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if (folder / "model" / "config.json").is_file():
        raise UnknownNameError(f"{str(folder)!r} is a training run; its model is {str(folder / 'model')!r}.")
    if folder.is_dir():
        raise UnknownNameError(
            f"{str(folder)!r} holds no model: there is no config.json in it. "
            "Give a folder with config.json, *.safetensors and tokenizer.json, or 'bundled'."
        )
    neighbours = [str(path.parent) for path in folder.parent.glob("*/config.json")] if folder.parent.is_dir() else []
    known = ["bundled", *neighbours, *(str(path.parent) for path in Path("runs").glob("*/model/config.json"))]
    near = difflib.get_close_matches(str(name_or_folder), known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(name) for name in near)}? Otherwise give" if near else "give"
    raise UnknownNameError(
        f"There is no model {str(name_or_folder)!r}; {hint} 'bundled' or a folder with config.json, "
        "*.safetensors and tokenizer.json."
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch or write the model folder again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch or write the model folder again.")
    return value


def _eos_ids(generation: Mapping[str, Any], config: Mapping[str, Any], tokenizer: Tokenizer) -> frozenset[int]:
    found = {tokenizer.control(EOS)} if tokenizer.has_control(EOS) else set()
    for source in (generation, config):
        given = source.get("eos_token_id")
        ids = given if isinstance(given, list) else [] if given is None else [given]
        if not all(type(id_) is int for id_ in ids):
            raise CheckpointError(
                f"eos_token_id is {given!r} in generation_config.json or config.json of {tokenizer.folder}; "
                "it must be an id or a list of ids. Fetch or write the model folder again."
            )
        found.update(ids)
    if not found:
        raise CheckpointError(
            f"Nothing says which token ends an answer in {tokenizer.folder}; "
            "add eos_token_id to its generation_config.json."
        )
    return frozenset(found)


def _defaults(generation: Mapping[str, Any], folder: Path) -> SamplingParams:
    """What generation_config.json recommends; a setting that it leaves out is ours."""
    given = {name: generation.get(name) for name in ("temperature", "top_p", "top_k", "min_p")}
    if generation.get("do_sample") is False:
        given["temperature"] = 0.0
    try:
        return replace(SamplingParams(), **{name: value for name, value in given.items() if value is not None})
    except (RequestError, TypeError) as error:
        raise CheckpointError(f"{folder / 'generation_config.json'} cannot be used: {error}") from error
