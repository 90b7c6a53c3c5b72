"""Which format a model's conversations have: known families by hand, anything else by its own template.

A template is known by its exact text (its digest below), never by its looks: one that was changed in a single letter
is rendered as it stands (`jinja.py`). So is a known one beside a vocabulary that lacks its control tokens. A folder
without a template is DeepSeek's or Qwen3's where its vocabulary has all of their control tokens; of any other nobody
can say how it is talked to, and a conversation is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from denken.chat import chatml, jinja, llama, parser, template
from denken.chat.message import Message, Tool
from denken.chat.page import Rendered
from denken.chat.parser import Dialect
from denken.errors import CheckpointError, ConfigError, RequestError
from denken.tokenizer import Tokenizer

MOST_BYTES = 1 << 20
_DEEPSEEK = (template.BOS, template.EOS, template.USER, template.ASSISTANT, template.THINK, template.END_THINK)
_QWEN = (chatml.START, chatml.END)
_QWEN_3 = (*_QWEN, template.THINK, template.END_THINK, chatml.CALL, chatml.END_CALL, chatml.RESPONSE)
_LLAMA = (llama.BOS, llama.HEADER, llama.END_HEADER, llama.END)


class Write(Protocol):
    """A conversation as ids, as `template.render` has it; every family's `render`, with what is its own filled in."""

    def __call__(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        *,
        thinking: bool,
        generate: bool,
        tools: Sequence[Tool],
        continues: bool,
        searching: bool,
        opens_thought: bool,
    ) -> Rendered: ...


@dataclass(frozen=True, slots=True)
class Format:
    """How one model's conversations are written, and its replies are read.

    name: what it is called. dialect: the tags of replies. ends: control tokens that end a turn, as far as known.
    opener: the control token that begins every turn, where there is one. opens: whether a thought is opened for the
    model wherever one is wanted. template: what renders it, where that is not written by hand.
    """

    name: str
    tokenizer: Tokenizer
    write: Write
    dialect: Dialect = parser.DEEPSEEK
    ends: tuple[str, ...] = ()
    opener: str | None = None
    opens: bool = False
    template: jinja.Template | None = None

    def render(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool = True,
        generate: bool = True,
        tools: Sequence[Tool] = (),
        continues: bool = False,
        searching: bool = False,
        opens_thought: bool = False,
    ) -> Rendered:
        """As `template.render`; opens_thought: a thought is opened also where the format leaves that to the model."""
        try:
            return self.write(
                messages,
                self.tokenizer,
                thinking=thinking,
                generate=generate,
                tools=tools,
                continues=continues,
                searching=searching,
                opens_thought=self.opens or opens_thought,
            )
        except RecursionError as error:
            raise RequestError("A tool or a call is nested too deeply to be written; make it flatter.") from error

    def settled(self, messages: Sequence[Message], prompt: Sequence[int], reply: Message) -> Sequence[int]:
        """What the next prompt begins with, once `prompt`, the rendered messages, was answered by `reply`."""
        if self.name == "deepseek":
            return template.settled(prompt, reply, self.tokenizer)
        if self.opener is None:
            return prompt  # rendering once more would cost more than it saves
        try:
            whole = self.render([*messages, reply, Message("user", "?")], generate=False).ids
        except RequestError:  # a reply that the format cannot write, as two calls at once in Llama's
            return prompt
        opener = self.tokenizer.control(self.opener)
        return whole[: max(index for index, id_ in enumerate(whole) if id_ == opener)]

    def close(self) -> None:
        """Ends the process that renders, where there is one."""
        if self.template is not None:
            self.template.close()


def deepseek(tokenizer: Tokenizer, *, opens: bool = True) -> Format:
    """DeepSeek-R1's. opens: whether the thought is opened for the model, as since February 2025."""
    return Format("deepseek", tokenizer, template.render, ends=(template.EOS,), opens=opens)


def qwen(tokenizer: Tokenizer, *, thinks: bool) -> Format:
    """ChatML. thinks: Qwen3's, else Qwen2.5's."""
    name, write = ("qwen3", chatml.render_3) if thinks else ("qwen2.5", chatml.render_2_5)
    dialect = parser.QWEN if thinks else parser.QWEN_2_5
    return Format(name, tokenizer, write, dialect, (chatml.END,), chatml.START)


def llama_3(tokenizer: Tokenizer) -> Format:
    """Llama 3.1's."""
    return Format("llama3.1", tokenizer, llama.render, parser.LLAMA, (llama.END, llama.END_CALL), llama.HEADER)


def own(tokenizer: Tokenizer, text: str, names: Mapping[str, str]) -> Format:
    """A model's own template, rendered apart. names: what it knows of the vocabulary, `bos_token` and the like.

    Raises CheckpointError where it cannot even render a question.
    """
    made = jinja.Template(text, names)
    try:
        made.write([Message("user", "?")], tokenizer)
    except jinja.Unrendered as error:
        made.close()
        raise CheckpointError(f"The model in {tokenizer.folder} cannot be talked to. {error}") from error
    except RequestError:
        pass  # it wants more than a question
    thinks = template.THINK in text or tokenizer.has_control(template.THINK)
    return Format("jinja", tokenizer, made.write, parser.dialect_of(text, thinks=thinks), template=made)


def unknown(tokenizer: Tokenizer) -> Format:
    """A vocabulary without a chat template: texts can be gone on with, conversations cannot."""
    return Format("unknown", tokenizer, _refuse, parser.PLAIN)


def _refuse(messages: Sequence[Message], tokenizer: Tokenizer, **settings: object) -> Rendered:
    raise ConfigError(
        f"Nothing says how the model in {tokenizer.folder} is talked to: it has no chat template. Put its "
        "chat_template.jinja there, or the tokenizer_config.json that holds it, or let it go on with a text."
    )


# The published templates that are written by hand here, by the digest of their text, and the tokens they need.
_KNOWN: Mapping[str, tuple[tuple[str, ...], Callable[[Tokenizer], Format]]] = {
    # DeepSeek-R1 and its distills: as released in January 2025; with `<think>` opened, since February.
    "b6835114b7303ddd78919a82e4d9f7d8c26ed0d7dfc36beeb12d524f6144eab1": (_DEEPSEEK, partial(deepseek, opens=False)),
    "56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f": (_DEEPSEEK, deepseek),
    # What denken exports beside its own models.
    "97c18d52edce785144f7c1623aeee76828a5430784aed386a69409e893a28279": (_DEEPSEEK, deepseek),
    # Qwen3, April and May 2025.
    "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5": (_QWEN_3, partial(qwen, thinks=True)),
    "a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8": (_QWEN_3, partial(qwen, thinks=True)),
    # Qwen2.5-7B-Instruct and its siblings.
    "55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a": (_QWEN, partial(qwen, thinks=False)),
    # Llama-3.1-8B-Instruct and its siblings.
    "93c0e9aa3629bbd77e68dbc0f5621f6e6b23aa8d74b932595cdb8d64684526d7": (_LLAMA, llama_3),
}


def format_of(folder: Path, tokenizer: Tokenizer) -> Format:
    """The format of the model in a folder. Raises CheckpointError where its files cannot be read."""
    settings = _settings(folder / "tokenizer_config.json")
    text = _template(folder, settings)
    if text is None:
        if all(map(tokenizer.has_control, _DEEPSEEK)):
            return deepseek(tokenizer)
        return qwen(tokenizer, thinks=True) if all(map(tokenizer.has_control, _QWEN_3)) else unknown(tokenizer)
    needed, make = _KNOWN.get(digest(text), ((), None))
    if make is not None and all(map(tokenizer.has_control, needed)):
        return make(tokenizer)
    return own(tokenizer, text, _names(settings))


def digest(text: str) -> str:
    """What a template is known by; Jinja drops a line break at its end, and so does this."""
    return hashlib.sha256(text.removesuffix("\n").encode("utf-8", "surrogatepass")).hexdigest()


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The folder's chat template; of several by name the default one."""
    own: Any = _text(folder / "chat_template.jinja") or settings.get("chat_template")
    if isinstance(own, list):
        named = [found for found in own if isinstance(found, dict) and found.get("name") == "default"]
        own = named[0].get("template") if named else None
    if own is not None and not isinstance(own, str):
        raise CheckpointError(f"The chat_template in {folder} is no text; fetch tokenizer_config.json again.")
    return own or None


def _names(settings: dict[str, Any]) -> dict[str, str]:
    """The tokens that tokenizer_config.json gives a part, as templates know them."""
    names = {}
    for role, token in settings.items():
        name = token.get("content") if isinstance(token, dict) else token
        if role.endswith("_token") and isinstance(name, str):
            names[role] = name
    return names


def _settings(file: Path) -> dict[str, Any]:
    text = _text(file, most=MOST_BYTES * 16)
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not valid JSON ({error}); fetch it again.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds no JSON object; fetch it again.")
    return found


def _text(file: Path, most: int = MOST_BYTES) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        raw = opened.read(most + 1)
    if len(raw) > most:
        raise CheckpointError(f"{file} is longer than {most} bytes; fetch it again or take it away.")
    try:
        return raw.decode("utf-8")
    except ValueError as error:
        raise CheckpointError(f"{file} is no text ({error}); fetch it again.") from error
