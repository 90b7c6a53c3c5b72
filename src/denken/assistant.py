"""A model folder, ready to be asked: the tokenizer, the chat format, the engine and the parser put together.

>>> import denken
>>> denken.load("bundled").ask("What is 17 times 23?").text        # doctest: +SKIP

The parts know nothing of one another; this is where they meet, for Python, the command line and the server alike.
PyTorch is imported when a model is loaded, not before.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from denken.about import FILE as ABOUT
from denken.about import About, read_about
from denken.chat import formats, grammar
from denken.chat.message import Message, Tool
from denken.chat.parser import Event
from denken.chat.template import EOS, FIM_HOLE, end_of_thinking, fill_in, open_thought
from denken.errors import CheckpointError, ConfigError, RequestError, UnknownNameError, quoted
from denken.reply import Plan, Reply
from denken.serve.speaker import Ask, ContextFull, Piece, TextAsk, Unsupported
from denken.serve.speaker import Reply as Finished
from denken.tokenizer import Tokenizer
from denken.types import FinishReason, Generate, SamplingParams

if TYPE_CHECKING:
    from denken.engine.apart import Apart, Guesses
    from denken.engine.engine import Engine
    from denken.engine.speculate import Speculation
    from denken.engine.stream import Stream, Under

BUNDLED = Path(__file__).parent / "bundled"
# Less room than this behind the prompt cannot hold an answer.
LEAST_ROOM = 8
# What conversations share is found in whole blocks: small ones, so that little of a short turn is computed again. Those
# of large networks are read by attention as they lie, and are large enough for that.
SMALL_BLOCKS, BLOCKS = 4, 16
# What `model/adapters.py` reads; named here, too, for that file brings PyTorch along.
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter"

log = logging.getLogger(__name__)


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


class Assistant:
    """A model that can be asked. Made by `load`; safe to use from several threads at once.

    name: what it is called. context: tokens that fit, prompt and reply together.
    defaults: the sampling that its makers recommend (generation_config.json). created: seconds since 1970.
    about: what its makers say of it (about.json). parent: the name of the model that this one is an adapter over.
    format: how its conversations are written; DeepSeek-R1's where nobody says.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        stream: Stream | Apart | Under,
        *,
        context: int,
        defaults: SamplingParams | None = None,
        created: int = 0,
        about: About | None = None,
        format: formats.Format | None = None,
    ):
        self.about = about or About()
        self.format = format or formats.deepseek(tokenizer)
        self.name, self.tokenizer, self.context, self.created = name, tokenizer, context, created
        self.defaults = defaults or SamplingParams()
        self.parent: str | None = None
        self._stream = stream
        self._longest_token = max(len(tokenizer.token_bytes(id_)) for id_ in range(tokenizer.vocab_size))
        self._once = _Once(stream)
        self._adapter = 0
        self._folder: Path | None = None

    @property
    def engine(self) -> Engine:
        """The engine itself, for work in batches. It may be used directly until the first question is asked.

        Raises ConfigError where it is in a process of its own.
        """
        return self._stream.engine

    @property
    def speculation(self) -> Speculation | Guesses | None:
        """Who guesses how texts go on, and how many of the guesses were right."""
        return self._stream.speculation

    @property
    def down(self) -> bool:
        """Whether its engine has ended by itself."""
        return self._stream.down

    @property
    def generate(self) -> Generate:
        """The engine as it computes for this model: with its adapter, where it has one."""
        return partial(self.engine, adapter=self._adapter) if self._adapter else self.engine

    def adapted(self, folder: str | Path, name: str | None = None) -> Assistant:
        """A further model: this one with an adapter over it. Both share one engine and one copy of the weights.

        folder: in PEFT's format, or of a run that has trained one. name: what it is to be called; its folder's name,
        or its run's, if absent. What it says of itself is its own about.json, or what this model says.
        Raises UnknownNameError where there is no adapter, CheckpointError where it is damaged or of another model.
        """
        from denken.engine.stream import Under
        from denken.model.adapters import WEIGHTS, read_settings

        folder = find_adapter(folder)
        stream = self._stream
        if isinstance(stream, Under):
            raise ConfigError(f"{self.name} is an adapter over {self.parent}; put {folder} over {self.parent} itself.")
        number = stream.learn(folder, base=self.name)
        if (named := read_settings(folder).base) and self._folder and not _is_base(named, self._folder):
            log.warning("%s says that it was trained on %s; it is used over %s.", folder, quoted(named), self.name)
        whole = Assistant(
            name or _adapter_name(folder),
            self.tokenizer,
            Under(stream, number),
            context=self.context,
            defaults=self.defaults,
            created=int((folder / WEIGHTS).stat().st_mtime),
            about=read_about(folder) if (folder / ABOUT).is_file() else self.about,
            format=self.format,
        )
        whole.parent, whole._once, whole._adapter = self.name, self._once, number
        return whole

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
        return answer_of(reply, list(reply), time.perf_counter() - started)

    def stream(
        self, messages: str | Sequence[Message], params: SamplingParams | None = None, thinking: bool = True
    ) -> Generator[Event, None, None]:
        """The answer as it is made: `think` events, then `answer` events. Closing the iterator stops the model."""
        with closing(self.reply(messages, params, thinking=thinking).__iter__()) as pieces:
            for piece in pieces:
                if piece.text and piece.kind in ("think", "answer", "tool"):
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
        tools = _offered(ask)
        most = grammar.MOST_CALLS if ask.parallel_tools else 1
        plan = Plan(
            prompt,
            replace(ask.params, grammar=self._grammar(ask, tools, most)),
            self._room(prompt, ask.params),
            # After a tool's output the turn goes on where no thought is open, whatever was asked for.
            thinking=open_thought(prompt, self.tokenizer),
            dialect=self.format.dialect,
            tools=frozenset(tool.name for tool in tools),
            one_call=not ask.parallel_tools or self.format.dialect.form == "llama",  # whose turns hold one
            look=ask.look,
            context=self.context,
            then=lambda reply: self._stream.warm(
                lambda: self.format.settled(ask.messages, prompt, self._whole(ask, reply))
            ),
        )
        return self._open(plan)

    def complete(self, ask: TextAsk) -> Reply:
        """A text that goes on as it stands, or a gap between two that is filled. Raises as `reply` does."""
        if ask.suffix is not None and not self.tokenizer.has_control(FIM_HOLE):
            raise Unsupported(f"{self.name} was not trained to fill gaps; leave the suffix out.")
        if isinstance(ask.prompt, tuple):
            if ask.suffix is not None:
                raise RequestError("A suffix goes with a prompt that is text, and this one is ids; send it as text.")
            prompt = ask.prompt
        else:
            self._check_characters(len(ask.prompt) + len(ask.suffix or ""), "text")
            prompt = fill_in(ask.prompt, ask.suffix, self.tokenizer)
        self._check_length(prompt, "text")
        return self._open(Plan(prompt, ask.params, self._room(prompt, ask.params), bare=True))

    def count(self, ask: Ask) -> int:
        """How many tokens a conversation has, up to where the answer begins."""
        return len(self._prompt(ask))

    def _open(self, plan: Plan) -> Reply:
        self._stream.check(plan.prompt, plan.params)
        self._once.start()
        return Reply(self._stream, self.tokenizer, plan)

    def _ask(self, question: str | Sequence[Message] | Ask, params: SamplingParams | None, thinking: bool) -> Ask:
        if isinstance(question, Ask):
            return question
        messages = [Message("user", question)] if isinstance(question, str) else list(question)
        return Ask(messages, params or self.defaults, thinking)

    def _prompt(self, ask: Ask) -> tuple[int, ...]:
        self._check(ask)
        prompt = self.format.render(
            ask.messages,
            thinking=ask.thinking,
            tools=_offered(ask),
            continues=ask.continues,
            searching=ask.look is not None,
            # What holds the answer to a form would hold a thought to it that is not open yet.
            opens_thought=ask.schema is not None or ask.tool_choice not in ("auto", "none"),
        ).ids
        self._check_length(prompt, "conversation")
        return prompt

    def _grammar(self, ask: Ask, tools: Sequence[Tool], most: int) -> str | None:
        """What the answer must follow, or None where it is free."""
        choice, form = ask.tool_choice, self.format.dialect.form
        if not isinstance(choice, str):
            named = [tool for tool in tools if tool.name == choice[1]]
            if not named:
                raise RequestError(f"tool_choice names {choice[1][:80]!r}, which is not among the tools; offer it.")
            return grammar.of_calls(named, self.tokenizer, most=most, form=form)
        if choice == "required":
            if not tools:
                raise RequestError("tool_choice is 'required', and there are no tools; offer one.")
            return grammar.of_calls(tools, self.tokenizer, most=most, form=form)
        if ask.schema is None:
            return ask.params.grammar
        if tools:
            return grammar.of_calls(tools, self.tokenizer, most=most, schema=ask.schema, form=form)
        return grammar.of_answer(ask.schema)

    def _room(self, prompt: Sequence[int], params: SamplingParams) -> int:
        """How many tokens the reply may have. Raises ContextFull where what was asked for does not fit."""
        room = self.context - len(prompt)
        if params.max_tokens is not None and params.max_tokens > room:
            raise ContextFull(
                f"The prompt has {len(prompt)} tokens and max_tokens is {params.max_tokens}, together "
                f"{len(prompt) + params.max_tokens}, and {self.name} takes {self.context}; "
                f"set max_tokens to {room} or less, or leave it out."
            )
        if params.thinking_budget is not None and params.thinking_budget + LEAST_ROOM > self.context:
            raise ContextFull(
                f"The thinking budget is {params.thinking_budget} tokens, and {self.name} takes {self.context}, prompt "
                f"({len(prompt)} tokens) and answer included; set a smaller budget, or none."
            )
        return params.max_tokens or room

    @staticmethod
    def _whole(ask: Ask, reply: Message) -> Message:
        """The reply as clients send it back: with its beginning, where it went on from one."""
        begun = ask.messages[-1].content if ask.continues else ""
        return replace(reply, content=begun + reply.content)

    def close(self) -> None:
        """Stops the engine's thread, for all that share it; what is still being generated is aborted."""
        self._once.close()
        self.format.close()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, ask: Ask) -> None:
        messages = ask.messages
        if not messages:
            raise RequestError("There is no message to answer; send at least one from the user.")
        last = messages[-1]
        if ask.continues:
            self._check_begun(ask, last)
        elif last.role not in ("user", "tool"):
            raise RequestError(
                f"The last message is the {last.role}'s; end with the user's, for it is what is answered."
            )
        elif last.role == "user" and not last.content.strip():
            raise RequestError("The question is empty; write what you want to know.")
        if ask.look is not None:
            self._check_search(ask)
        for tool in ask.tools:
            grammar.checked_name(tool)
        said = [part for message in messages for part in (message.content, message.reasoning_content or "")]
        called = [part for message in messages for call in message.tool_calls for part in (call.name, call.arguments)]
        self._check_characters(sum(map(len, said)) + sum(map(len, called)), "conversation")

    def _check_begun(self, ask: Ask, last: Message) -> None:
        if last.role != "assistant" or last.tool_calls:
            raise RequestError(
                "Only an answer can be gone on with; end with a message of the assistant, without tool calls."
            )
        if ask.schema is not None or ask.tool_choice not in ("auto", "none"):
            raise Unsupported(
                "A begun answer cannot be held to a schema or to a call, for its beginning may fit neither; "
                "leave one of them out."
            )

    def _check_search(self, ask: Ask) -> None:
        if self.about.searches != "inside":
            raise Unsupported(f"{self.name} was not trained to search while it thinks; search before it answers.")
        if ask.continues:
            raise Unsupported(
                "A begun answer has its thought behind it, and this model searches while it thinks; "
                "leave the search out, or the beginning."
            )

    def _check_characters(self, characters: int, what: str) -> None:
        """What cannot fit however it is cut is refused before time is spent on cutting it."""
        if characters > self.context * self._longest_token:
            raise ContextFull(
                f"The {what} has {characters} characters, and {self.name} takes {self.context} tokens, "
                "far fewer than that comes to; shorten it or begin a new one."
            )

    def _check_length(self, prompt: Sequence[int], what: str) -> None:
        if len(prompt) + LEAST_ROOM > self.context:
            raise ContextFull(
                f"The {what} has {len(prompt)} tokens, and {self.name} takes {self.context}, "
                f"of which at least {LEAST_ROOM} are for the answer; shorten it or begin a new one."
            )


class _Once:
    """Starts a stream with the first question to any of the models that share it."""

    def __init__(self, stream: Stream | Apart | Under) -> None:
        self._stream, self._started, self._lock = stream, False, threading.Lock()

    def start(self) -> None:
        with self._lock:
            if not self._started:
                self._stream.start()
                self._started = True

    def close(self) -> None:
        self._stream.close()


def answer_of(reply: Finished, pieces: Sequence[Piece], seconds: float) -> Answer:
    """All the pieces of a reply put together."""
    said = {kind: "".join(piece.text for piece in pieces if piece.kind == kind) for kind in ("think", "answer")}
    return Answer(
        thought=said["think"].strip(),
        text=said["answer"].strip(),
        prompt_tokens=reply.usage.prompt_tokens,
        thought_tokens=reply.usage.thought_tokens,
        answer_tokens=reply.usage.answer_tokens,
        cached_tokens=reply.usage.cached_tokens,
        seconds=seconds,
        finish_reason=reply.finish_reason,
    )


def _offered(ask: Ask) -> tuple[Tool, ...]:
    """The tools that the model is told of."""
    return () if ask.tool_choice == "none" else ask.tools


def load(
    name_or_folder: str | Path = "bundled",
    *,
    threads: int | None = None,
    speculation: bool = True,
    adapter: str | Path | None = None,
    head: Literal["int8", "int4"] | None = None,
    rows: Literal["bf16", "int8"] | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    apart: bool = False,
) -> Assistant:
    """Loads a model that can be asked.

    name_or_folder: "bundled" for the model that comes with denken, ORG/NAME for one that `denken pull` has fetched, or
        a folder in the Hugging Face layout (config.json, *.safetensors, tokenizer.json; generation_config.json where
        there is one). A folder of an adapter is loaded with its base, where it says which and that is here.
    adapter: the folder of an adapter over it; see `Assistant.adapted` for several.
    threads: processor threads for the network; PyTorch's own choice where it is None.
    speculation: whether guesses of how a text goes on are checked several at a time; they change the time that a text
        takes and nothing that it says (docs/engine.md).
    head: rounds the output projection to so many bits, where kernels run the model (docs/speed.md): sooner, and near
        what the model would say.
    rows: the same of what is kept of a text while it is written (docs/engine.md): less memory, and sooner where many
        texts are written at a time.
    device: "cuda" computes on a GPU of NVIDIA's, for many at a time; nothing is guessed there.
    apart: whether the network computes in a process of its own, which a server of many does not keep waiting; there is
        no `Assistant.engine` then.
    Raises UnknownNameError where there is no such model, CheckpointError or ConfigError where it cannot be used.
    """
    options: dict[str, Any] = {"threads": threads, "speculation": speculation}
    options |= {"head": head, "rows": rows, "device": device}
    if adapter is not None:
        return load(name_or_folder, apart=apart, **options).adapted(adapter)
    if is_adapter(name_or_folder):
        return load(base_of(name_or_folder), apart=apart, **options).adapted(name_or_folder)
    folder = find_folder(name_or_folder)
    begun = _begin_apart({"name_or_folder": str(folder), **options}) if apart else None
    try:
        tokenizer = Tokenizer.load(folder)
        format = formats.format_of(folder, tokenizer)
        generation = _read_json(folder / "generation_config.json")
        eos_ids = _eos_ids(generation, _read_json(folder / "config.json"), tokenizer, format.ends)
        stream: Stream | Apart
        if begun is None:
            from denken.engine.stream import Stream

            stream = Stream(_engine(folder, tokenizer, eos_ids, **options))
            limits = stream.engine.limits
        else:
            from denken.engine.grammar import Grammars

            stream, limits = begun, begun.meet(Grammars(tokenizer, eos_ids))
        weights = sorted(folder.glob("*.safetensors"))
        loaded = Assistant(
            _name(folder),
            tokenizer,
            stream,
            context=min(limits.context, limits.cache),
            defaults=_defaults(generation, folder),
            created=int(weights[0].stat().st_mtime) if weights else 0,
            about=read_about(folder),
            format=format,
        )
    except BaseException:
        if begun is not None:
            begun.close()
        raise
    loaded._folder = folder
    return loaded


def _begin_apart(options: dict[str, Any]) -> Apart:
    """The process that loads the same; it does so while the rest is read here."""
    from denken.engine.apart import Apart

    return Apart([sys.executable, "-m", "denken.apart", json.dumps(options)])


def _engine(
    folder: Path,
    tokenizer: Tokenizer,
    eos_ids: Collection[int],
    *,
    threads: int | None,
    speculation: bool,
    head: Literal["int8", "int4"] | None,
    rows: Literal["bf16", "int8"] | None,
    device: Literal["cpu", "cuda"],
) -> Engine:
    """The engine of a folder's network; the rest as in `load`."""
    import torch

    from denken.engine import ngrams
    from denken.engine.engine import Engine
    from denken.engine.fused import is_small
    from denken.engine.native import precision
    from denken.engine.speculate import Speculation
    from denken.model import mtp
    from denken.model.checkpoint import Weights
    from denken.model.compressed import compress

    if threads is not None:
        torch.set_num_threads(threads)
    on_gpu = _is_gpu(device, head or rows)
    weights, stored = Weights.open(folder), sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    dtype = precision(weights.dtype, weights.numbers, stored, on_gpu=on_gpu)
    model = weights.model(dtype).to(device)
    model.eval()
    compress(model)
    guesses = None
    if speculation and not on_gpu:
        guesses = Speculation(known=ngrams.find(folder, model.config.vocab_size))
    return Engine(
        model,
        eos_ids=eos_ids,
        end_of_thinking=end_of_thinking(tokenizer),
        tokenizer=tokenizer,
        block_size=SMALL_BLOCKS if is_small(model) and not on_gpu else BLOCKS,
        max_batch_tokens=8192 if on_gpu else 1024,
        max_sequences=1024 if on_gpu else 256,
        speculation=guesses,
        layer=None if guesses is None else mtp.load(folder, model.head_weight.dtype),
        # A GPU reads a prompt about as soon as a part of it.
        portions=not on_gpu,
        ahead=True,
        head=head,
        narrow_rows=rows or False,
    )


def _is_gpu(device: str, rounded: str | None) -> bool:
    """Whether that is a GPU; ConfigError where there is none, or it cannot do what is asked of it."""
    import torch

    if device == "cpu":
        return False
    if device != "cuda":
        raise ConfigError(f"The device is {device!r}; it is 'cpu' or 'cuda'.")
    if not torch.cuda.is_available():
        why = "" if torch.version.cuda else " and its PyTorch is made for processors alone"
        raise ConfigError(f"This machine has no GPU that PyTorch sees{why}; leave the device out, or say 'cpu'.")
    if rounded is not None:
        raise ConfigError("A rounded head and rounded rows are for processors; leave them out, or the device.")
    return True


def _name(folder: Path) -> str:
    """What a model is called: its folder's name, or its run's where training put it into a folder `model`."""
    if folder == BUNDLED:
        return "bundled"
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def find_folder(name_or_folder: str | Path) -> Path:
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
    if is_adapter(folder):
        raise UnknownNameError(
            f"{str(folder)!r} is an adapter, and no model by itself; name its base, and give it by --adapter {folder}."
        )
    if folder.is_dir():
        raise UnknownNameError(
            f"{str(folder)!r} holds no model: there is no config.json in it. "
            "Give a folder with config.json, *.safetensors and tokenizer.json, or 'bundled'."
        )
    from denken.shelf.shelf import Shelf

    shelf = Shelf()
    if str(name_or_folder) in (fetched := shelf.names()) or str(name_or_folder).startswith("hf:"):
        return shelf.find(str(name_or_folder))
    neighbours = [str(path.parent) for path in folder.parent.glob("*/config.json")] if folder.parent.is_dir() else []
    known = ["bundled", *fetched, *neighbours, *(str(path.parent) for path in Path("runs").glob("*/model/config.json"))]
    near = difflib.get_close_matches(str(name_or_folder), known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(name) for name in near)}? Otherwise give" if near else "give"
    raise UnknownNameError(
        f"There is no model {str(name_or_folder)!r}; {hint} 'bundled', the name of a model that was fetched "
        "(denken pull), or a folder with config.json, *.safetensors and tokenizer.json."
    )


def is_adapter(name_or_folder: str | Path) -> bool:
    """Whether it is the folder of an adapter, not of a model."""
    return (Path(name_or_folder).expanduser() / ADAPTER_CONFIG).is_file()


def find_adapter(folder: str | Path) -> Path:
    """The folder of an adapter: this one, or a run's `adapter`. UnknownNameError where there is neither."""
    folder = Path(folder).expanduser()
    for place in (folder, folder / ADAPTER):
        if is_adapter(place):
            return place
    raise UnknownNameError(
        f"{str(folder)!r} holds no adapter: there is no {ADAPTER_CONFIG} in it, or in its folder {ADAPTER!r}. "
        "Give a folder in PEFT's format, or a run that was trained with lora."
    )


def named_adapter(given: str) -> tuple[str | None, Path]:
    """NAME=FOLDER or FOLDER, as it is typed: what the adapter is to be called, if that is said, and its folder.

    Raises ConfigError for a name that no request could give, UnknownNameError where there is no adapter.
    """
    name, equals, folder = given.partition("=")
    if not equals or Path(given).expanduser().is_dir():
        return None, find_adapter(given)
    if not re.fullmatch(r"[\w.:@/-]{1,128}", name):
        raise ConfigError(f"{quoted(name)} is no name for a model; give up to 128 letters, digits and any of ._-:@/")
    return name, find_adapter(folder)


def base_of(folder: str | Path) -> Path:
    """The model that an adapter says it was trained on. UnknownNameError where it does not say, or that is not here."""
    from denken.model.adapters import read_settings

    folder = find_adapter(folder)
    named = read_settings(folder).base
    if named is None:
        raise UnknownNameError(f"The adapter {str(folder)!r} does not say what its base is; name it beside --adapter.")
    try:
        return find_folder(named)
    except UnknownNameError as error:
        raise UnknownNameError(f"The base of the adapter {str(folder)!r} is not here: {error}") from error


def _is_base(named: str, folder: Path) -> bool:
    """Whether what an adapter calls its base is this model's folder."""
    if folder == BUNDLED:
        return named == "bundled"
    return named == "/".join(folder.resolve().parts[-2:]) or Path(named).expanduser().resolve() == folder.resolve()


def _adapter_name(folder: Path) -> str:
    folder = folder.resolve()
    return folder.parent.name if folder.name == ADAPTER else folder.name


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


def _eos_ids(
    generation: Mapping[str, Any], config: Mapping[str, Any], tokenizer: Tokenizer, ends: Sequence[str] = ()
) -> frozenset[int]:
    """What the files name, and what ends a turn in the model's format."""
    found = {tokenizer.control(name) for name in (EOS, *ends) if tokenizer.has_control(name)}
    for source in (generation, config):
        given = source.get("eos_token_id")
        ids = given if isinstance(given, list) else [] if given is None else [given]
        if not all(type(id_) is int for id_ in ids):
            raise CheckpointError(
                f"eos_token_id is {quoted(given)} in generation_config.json or config.json of {tokenizer.folder}; "
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
    given: dict[str, Any] = {name: generation.get(name) for name in ("temperature", "top_p", "top_k", "min_p")}
    if generation.get("do_sample") is False:
        given["temperature"] = 0.0
    for name, value in given.items():
        whole = name == "top_k"
        if value is not None and type(value) not in ((int,) if whole else (int, float)):
            kind = "a whole number" if whole else "a number"
            raise CheckpointError(
                f"{folder / 'generation_config.json'}: {name} is {quoted(value)}; give {kind} or leave it out."
            )
    try:
        return replace(SamplingParams(), **{name: value for name, value in given.items() if value is not None})
    except RequestError as error:
        raise CheckpointError(f"{folder / 'generation_config.json'} cannot be used: {error}") from error
