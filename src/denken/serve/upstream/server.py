"""One server upstream: its address and our key to it, what it is, which models it has, whether it answers.

What is asked of the server itself (models, health, counting, its template) is asked here, blocking, with a deadline and
a limit of size; call it in a thread. Replies are opened with `client`, a connection each.

Not trusted: redirects are not followed, proxies are not taken from the environment, certificates are checked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from denken import remote
from denken.chat.message import Message
from denken.chat.template import END_THINK, THINK
from denken.remote import positive as _positive
from denken.remote import read_key as read_key
from denken.remote import verify as _verify
from denken.serve.upstream import asking, reading
from denken.serve.upstream.asking import Kind
from denken.serve.upstream.thought import Opened

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
# For what a server says of itself. A busy one takes its time.
ASK_SECONDS = 10.0
JSON_BYTES = 8 * 2**20
MOST_MODELS = 1000
PROBE_TOKENS = 1024
PROBE_SECONDS = 120.0
# A trial waits so long for a moment in which nobody asks.
IDLE_SECONDS = 60.0
# What a server could not show or say of its thoughts, it is asked for again after so long.
TEMPLATE_AGAIN = 60.0
TRIAL_AGAIN = 600.0
# Kinds that never leave a thought in their text, and those that leave one only with both its tags.
_THOUGHTS: dict[Kind, Opened] = {"denken": "apart", "deepseek": "apart", "openai": "apart", "ollama": "closed"}


class NoAnswer(Exception):
    """A server did not say what it was asked; why, for the log."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a server has. context: tokens, where it says so. created: seconds since 1970, likewise."""

    name: str
    context: int | None = None
    created: int = 0


class Server:
    """number: its place among the options, from 1. weight: how many replies it bears compared with others.

    up: whether new replies are sent there. running: replies under way. offers: its models by name.
    chosen: how often it was. heard: when the last bytes of a reply came.
    """

    def __init__(self, number: int, url: str, key: str | None = None, weight: float = 1.0):
        self.number, self.key, self.weight = number, key, weight
        self.api, self.root = remote.addresses(url)
        self.kind: Kind = "other"
        self.offers: dict[str, Offer] = {}
        self.up = False
        self.heard = float("-inf")
        self.running = self.chosen = self.failures = 0
        self.refused: dict[str, set[str]] = {}  # by model: fields that we add, and that it does not take
        self._opened: dict[tuple[str, bool], Opened] = {}
        self._asked: dict[tuple[str, str, bool], float] = {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What an error of the server must not show to those who ask us."""
        return remote.secrets(self.key, self.root)

    @property
    def headers(self) -> dict[str, str]:
        return remote.headers(self.key)

    def address(self, path: str) -> str:
        return f"{self.root if path.startswith('/beta/') else self.api}{path}"

    def client(self, seconds: float) -> httpx.AsyncClient:
        """For one reply. seconds: how long it may be silent."""
        return httpx.AsyncClient(
            verify=_verify(self.api),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            headers=self.headers | {"Connection": "close"},
        )

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Counts a reply as long as it runs."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def look(self) -> None:
        """Reads its models, which shows as well that it answers. Raises NoAnswer."""
        record = self.ask("GET", f"{self.api}/models")
        listed = record.get("data") if isinstance(record, dict) else None
        if not isinstance(listed, list):
            raise NoAnswer("its list of models is none")
        records = [one for one in listed[:MOST_MODELS] if isinstance(one, dict) and remote.is_name(one.get("id"))]
        self.kind = remote.kind_of(self.api, records)
        offers = {
            one["id"]: Offer(one["id"], remote.context_of(one), _positive(one.get("created")) or 0) for one in records
        }
        if self.kind == "llamacpp":
            offers = self._with_slots(offers)
        self.offers = offers

    def answered(self) -> None:
        """It answers. One that was away may have come back as another, so what was learnt of it is forgotten."""
        if not self.up:
            self._opened, self._asked, self.refused = {}, {}, {}
        self.up, self.failures = True, 0

    def ask(self, method: str, url: str, body: Any = None, seconds: float = ASK_SECONDS) -> Any:
        """The JSON of its response. Raises NoAnswer for everything else."""
        deadline = time.monotonic() + seconds
        parts: list[bytes] = []
        try:
            with (
                httpx.Client(verify=_verify(url), trust_env=False, follow_redirects=False, timeout=seconds) as client,
                client.stream(method, url, json=body, headers=self.headers) as response,
            ):
                if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
                    raise NoAnswer(f"it answered with status {response.status_code}")
                for chunk in response.iter_raw():
                    parts.append(chunk)
                    if sum(map(len, parts)) > JSON_BYTES or time.monotonic() > deadline:
                        raise NoAnswer("its answer was too long or too slow")
            return reading.parse(b"".join(parts))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error

    def accepted(self, model: str, extras: Mapping[str, Any]) -> dict[str, Any]:
        """The fields without those that it is known to refuse."""
        return {name: value for name, value in extras.items() if name not in self.refused.get(model, ())}

    def count(self, messages: Sequence[Message], model: str, thinking: bool) -> int | None:
        """The tokens of a conversation, where the server has a way to ask; None where not."""
        try:
            if self.kind == "vllm":
                return _positive(self._vllm_prompt(messages, model, thinking).get("count"))
            if self.kind == "llamacpp":
                body = {"content": self._llamacpp_prompt(messages, model, thinking), "parse_special": True}
                tokens = self._record("/tokenize", body).get("tokens")
                return len(tokens) if isinstance(tokens, list) else None
        except NoAnswer as error:
            log.info("Upstream %d does not count: %s", self.number, error)
        return None

    def opened(self, model: str, thinking: bool) -> Opened:
        """What is known of thoughts in its text; see `thought.py`."""
        return _THOUGHTS.get(self.kind) or self._opened.get((model, thinking), "unknown")

    def read_template(self, model: str, thinking: bool) -> None:
        """Learns from a rendered prompt whether thoughts are opened by it, where the server shows prompts."""
        if self.kind not in ("vllm", "llamacpp") or not self._is_due("template", model, thinking, TEMPLATE_AGAIN):
            return
        question = [Message("user", "Hello")]
        try:
            if self.kind == "llamacpp":
                prompt = self._llamacpp_prompt(question, model, thinking)
            else:
                tokens = self._vllm_prompt(question, model, thinking).get("tokens")
                shown = self._record("/detokenize", {"model": model, "tokens": tokens}).get("prompt")
                prompt = shown if isinstance(shown, str) else ""
        except NoAnswer as error:
            log.info("Upstream %d does not show its prompts: %s", self.number, error)
            return
        if prompt:
            self._opened[model, thinking] = "open" if prompt.rstrip().endswith(THINK) else "closed"

    def try_out(self, model: str, thinking: bool) -> None:
        """Learns the same, in the background, from an answer to a question of ours.

        The question is ours and not an asker's, whose words could otherwise decide how others are answered.
        """
        if self._is_due("trial", model, thinking, TRIAL_AGAIN):
            threading.Thread(target=self._try_out, args=(model, thinking), daemon=True).start()

    def _try_out(self, model: str, thinking: bool) -> None:
        # Some servers have but one place, and push the reply out that is being made.
        deadline = time.monotonic() + IDLE_SECONDS
        while self.running and time.monotonic() < deadline:
            time.sleep(0.05)
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": PROBE_TOKENS}
        body |= self._switch(model, thinking)
        try:
            found = _opened_by(self.ask("POST", self.address("/chat/completions"), body, PROBE_SECONDS))
        except NoAnswer as error:
            log.info("Upstream %d could not be tried out: %s", self.number, error)
            return
        if found is not None:
            self._opened[model, thinking] = found

    def _is_due(self, what: str, model: str, thinking: bool, seconds: float) -> bool:
        """Whether nobody has asked lately; whoever gets a yes is to ask."""
        now, key = time.monotonic(), (what, model, thinking)
        if now < self._asked.get(key, -seconds) + seconds:
            return False
        self._asked[key] = now
        return True

    def _switch(self, model: str, thinking: bool) -> dict[str, Any]:
        return self.accepted(model, asking.thinking_fields(thinking, None, model, self.kind, 1))

    def _with_slots(self, offers: Mapping[str, Offer]) -> dict[str, Offer]:
        """llama.cpp names the context that a model was trained with; what it gives to one reply is often less."""
        try:
            settings = self._get("/props").get("default_generation_settings")
        except NoAnswer:
            return dict(offers)
        slot = _positive(settings.get("n_ctx")) if isinstance(settings, dict) else None
        return {name: Offer(name, slot or offer.context, offer.created) for name, offer in offers.items()}

    def _vllm_prompt(self, messages: Sequence[Message], model: str, thinking: bool) -> Mapping[str, Any]:
        body = {"model": model, "messages": asking.messages(messages, self.kind)}
        return self._record("/tokenize", body | self._switch(model, thinking))

    def _llamacpp_prompt(self, messages: Sequence[Message], model: str, thinking: bool) -> str:
        body = {"messages": asking.messages(messages, self.kind)}
        prompt = self._record("/apply-template", body | self._switch(model, thinking)).get("prompt")
        if not isinstance(prompt, str):
            raise NoAnswer("it rendered no prompt")
        return prompt

    def _record(self, path: str, body: Any) -> Mapping[str, Any]:
        record = self.ask("POST", self.root + path, body)
        return record if isinstance(record, dict) else {}

    def _get(self, path: str) -> Mapping[str, Any]:
        record = self.ask("GET", self.root + path)
        return record if isinstance(record, dict) else {}


def _opened_by(record: Any) -> Opened | None:
    """What one whole answer shows; None where it was cut before it showed anything."""
    choices = record.get("choices") if isinstance(record, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        return None
    if message.get("reasoning_content") or message.get("reasoning"):
        return "apart"
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    if text.lstrip().startswith(THINK):
        return "closed"
    if END_THINK in text:
        return "open"
    return "closed" if choice.get("finish_reason") == "stop" else None
