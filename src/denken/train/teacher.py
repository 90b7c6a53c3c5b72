"""A teacher elsewhere: answers of a server with OpenAI's API, such as vLLM, llama.cpp, Ollama, DeepSeek, or denken.

`Endpoint` asks for whole answers, several at once, and satisfies `rollout.Answers`, so that whoever samples need not
know where a teacher is. Every answer is a line of a journal (`journal.py`), on the disk before the next thing is done,
and no question that stands there is asked again: a run that was stopped or killed at any moment pays again for nothing
but what was under way.

What a server does wrong: it is asked again where another try may help (too many requests, failures, silence, hang-ups,
what is no answer), after the time that it names or a doubling one, up to `tries` times; an answer is given up where it
may not (this question refused); all ends with one sentence where nothing can help (wrong key, empty account, no such
model, nothing but failures). How a server is addressed, and what it may show of itself, is `denken.remote`'s affair.

Money: an answer is asked for only if the worst that it and those under way can cost, at the prices given, still fits.
Tries that failed are counted as nothing: no server says what they cost.

Not covered: batch APIs, several answers to one request, log-probabilities, tools and searches.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import httpx

from denken import remote
from denken.chat.template import END_THINK, THINK
from denken.config import EndpointSection, SampleSection
from denken.errors import ConfigError, DenkenError, UnknownNameError
from denken.remote import whole_characters
from denken.rollout import Answered, Draw, Reply, lookup_of, sample_seed
from denken.tasks.base import Task
from denken.train.journal import Journal, Said
from denken.types import Completion, Rollout

CONNECT_SECONDS = 10.0
LIST_SECONDS = 30.0
ANSWER_BYTES = 32 * 2**20
# The first wait before another try, and the longest where the server names none.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# A server that is merely busy is asked so many times as often.
BUSY_TRIES = 4
LOOK_SECONDS = 0.1
BYTES_PER_TOKEN = 3
MOST_TOKENS = 10**9
_STOPPED = ("stop", "eos", "eos_token", "end_turn", None)
NO_MONEY, NO_TIME = "not asked: the money is spent", "not asked: the time is over"


class Stopped(Exception):
    """Somebody asked to stop; what has come is in the journal."""


class _Again(Exception):
    """Another try may help. seconds: after so long, where the server says so. busy: it only has too much to do."""

    def __init__(self, why: str, seconds: float | None = None, *, busy: bool = False) -> None:
        super().__init__(why)
        self.seconds, self.busy = seconds, busy


class _Lost(Exception):
    """This question gets no answer; why."""


class Endpoint:
    """One model of one server, asked for answers. Made by `connect`; see the module.

    name: what records call it, such as deepseek-reasoner@api.deepseek.com. context: its tokens, where it says so.
    stopping: whether somebody wants to stop. late: whether the time is over. show: told of every answer that is judged.
    """

    def __init__(
        self,
        section: SampleSection,
        seed: int,
        journal: Journal,
        *,
        model: str,
        kind: remote.Kind,
        context: int | None = None,
        purpose: str = "sample",
        stopping: Callable[[], bool] = lambda: False,
        late: Callable[[], bool] = lambda: False,
        show: Callable[[Answered], None] = lambda answered: None,
    ) -> None:
        self.section, self.seed, self.journal = section, seed, journal
        self.settings = section.endpoint or EndpointSection()
        self.api, root = remote.addresses(section.model, "the server")
        self.key = remote.read_key(self.settings.key_env, "the server")
        self.secrets = remote.secrets(self.key, root)
        self.model, self.kind, self.context, self.purpose = model, kind, context, purpose
        self.name = f"{model}@{urlsplit(root).netloc}"
        self.stopping, self.late, self.show = stopping, late, show
        self.spent = False  # whether there is no money for another answer
        self._extras = remote.thinking_switch(section.thinking, model, kind)
        self._under_way, self._promised = 0, 0.0  # answers, and the dollars that they may cost
        self._row = 0  # how many questions in a row got no answer
        self._quiet_until = 0.0
        self._before, self._started = journal.elapsed.get(purpose, 0.0), time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds for this purpose, those of earlier processes included."""
        return self._before + time.monotonic() - self._started

    def __call__(self, task: Task, draws: Sequence[Draw]) -> list[Answered]:
        """Judged answers, in order; those that stand in the journal are not asked for.

        Raises Stopped, ConfigError for tasks that need a search, DenkenError where the server is of no use.
        """
        for draw in draws:
            if lookup_of(task, draw.problem) is not None:
                raise ConfigError(
                    f"Problems of {draw.problem.task} are solved by searching, which no server elsewhere can do here; "
                    "take a teacher that runs here, or leave the task out."
                )
        return asyncio.run(self._all(task, draws))

    async def _all(self, task: Task, draws: Sequence[Draw]) -> list[Answered]:
        answered: list[Answered | None] = [None] * len(draws)
        waiting = iter(range(len(draws)))
        changed = asyncio.Condition()

        async def work(client: httpx.AsyncClient) -> None:
            for place in waiting:
                said = await self._one(client, draws[place], changed)
                answered[place] = done = self._judged(task, draws[place], said)
                self.show(done)

        limits = httpx.Limits(max_connections=self.settings.concurrency)
        async with httpx.AsyncClient(
            verify=remote.verify(self.api),
            trust_env=False,
            follow_redirects=False,
            limits=limits,
            timeout=httpx.Timeout(self.settings.answer_s, connect=CONNECT_SECONDS),
            # A connection an answer: no answer's bytes can be taken for another's.
            headers=remote.headers(self.key) | {"Connection": "close"},
        ) as client:
            workers = [asyncio.create_task(work(client)) for _ in range(min(self.settings.concurrency, len(draws)))]
            try:
                while not all(worker.done() for worker in workers):
                    if self.stopping():
                        raise Stopped
                    done, _ = await asyncio.wait(workers, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                    for worker in done:
                        worker.result()
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            for worker in workers:
                worker.result()
        return [each for each in answered if each is not None]

    def _judged(self, task: Task, draw: Draw, said: Said | str) -> Answered:
        if isinstance(said, str):
            nothing = Rollout(draw.problem, Completion((), finish_reason="abort"), task.score(draw.problem, ""))
            return Answered(nothing, Reply("", "", cut=False, tags_in_place=False), 0, lost=said)
        reply = said.reply(self.section.thinking)
        rollout = Rollout(
            draw.problem, Completion((), finish_reason=said.finish), task.score(draw.problem, reply.answer)
        )
        return Answered(rollout, reply, said.tokens, prompt_tokens=said.prompt_tokens)

    async def _one(self, client: httpx.AsyncClient, draw: Draw, changed: asyncio.Condition) -> Said | str:
        """The answer to one draw, from the journal or the server; why there is none."""
        body = self._body(draw)
        id_ = self._id(draw)
        if (known := self.journal.get(id_)) is not None:
            return known
        if self.late():
            return NO_TIME
        worst = self._cost(_about(body), self._most(draw))
        async with changed:
            while self._short_of(worst):
                if not self._under_way or self.spent:
                    self.spent = True
                    return NO_MONEY
                await changed.wait()
            self._promised += worst
            self._under_way += 1
        try:
            said = await self._tried(client, draw, id_, body)
        except _Lost as why:
            self._row += 1
            if self._row >= max(8, 2 * self.settings.concurrency):
                raise DenkenError(
                    f"{self._row} questions in a row got no answer: {why}. What came before is kept; the same command "
                    "goes on with it."
                ) from None
            return f"no answer: {why}"
        finally:
            async with changed:
                self._promised -= worst
                self._under_way -= 1
                changed.notify_all()
        self._row = 0
        return said

    def _short_of(self, worst: float) -> bool:
        """Whether there is no money for this one in the worst case; rounding aside."""
        most = self.settings.usd
        return most is not None and self.journal.usd + self._promised + worst > most * (1 + 1e-9)

    async def _tried(self, client: httpx.AsyncClient, draw: Draw, id_: str, body: remote.Record) -> Said:
        """Raises _Lost where the tries are used up or would not help."""
        tries, busy, wait = 0, 0, FIRST_WAIT
        while True:
            await self._quiet()
            started = time.monotonic()
            try:
                said = self._read(await self._send(client, body | self._extras), draw, id_, body)
            except _Again as again:
                tries, busy = (tries, busy + 1) if again.busy else (tries + 1, busy)
                if tries >= self.settings.tries or busy >= BUSY_TRIES * self.settings.tries or self.late():
                    raise _Lost(str(again)) from None
                seconds = wait * random.uniform(0.75, 1.25) if again.seconds is None else again.seconds
                if again.busy:
                    self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)
                else:
                    await asyncio.sleep(seconds)
                wait = min(LONGEST_WAIT, 2 * wait)
                continue
            said = Said(**asdict(said) | {"seconds": round(time.monotonic() - started, 3), "elapsed": self.elapsed})
            self.journal.add(said)
            return said

    async def _quiet(self) -> None:
        """Waits as long as the server wants nobody to ask."""
        while (seconds := self._quiet_until - time.monotonic()) > 0 and not self.late():
            await asyncio.sleep(min(seconds, 1.0))

    async def _send(self, client: httpx.AsyncClient, body: remote.Record) -> Any:
        """The JSON of an answer. Raises _Again, _Lost, and DenkenError for what no other question will mend."""
        parts = bytearray()
        try:
            async with (
                asyncio.timeout(self.settings.answer_s),
                client.stream("POST", f"{self.api}/chat/completions", json=body) as response,
            ):
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise _Again("the server packed its answer, which was not asked for")
                async for chunk in response.aiter_raw():
                    parts += chunk
                    if len(parts) > ANSWER_BYTES:
                        raise _Lost(f"the server sent more than {ANSWER_BYTES} bytes")
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise _Again("the server cannot be reached") from None
        except (httpx.TimeoutException, TimeoutError):
            raise _Again(f"the server did not answer in {self.settings.answer_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise _Again("the server broke off") from None
        try:
            record = remote.parse(bytes(parts))
        except ValueError:
            record = None
        if response.status_code == 200:
            if self.key and self.key.encode() in parts:
                raise _Lost("the server repeated our key, so that its answer is not kept")
            return record
        raise self._failure(response.status_code, record, response.headers.get("retry-after"))

    def _failure(self, status: int, record: Any, retry_after: str | None) -> Exception:
        message, _, _ = remote.said(record, self.secrets)
        told = f" It said: {message}" if message else ""
        if status in (401, 403):
            given = f"that in {self.settings.key_env}" if self.settings.key_env else "none was given"
            return DenkenError(
                f"The server refused our key ({given}); put the right one into a variable and name it, as "
                f"in --key-env NAME.{told}"
            )
        if status == 402:
            return DenkenError(f"The server says that the account there is empty; fill it up.{told}")
        if 300 <= status < 400:
            return DenkenError("The server redirects, which is not followed; give the address it leads to.")
        if status in (404, 405):
            return DenkenError(
                f"The server does not know such requests, or no model {self.model!r} (status {status}); is "
                f"the address that of its OpenAI API?{told}"
            )
        seconds = remote.retry_seconds(retry_after)
        if status in (429, 503, 529):
            return _Again(message or f"the server is busy (status {status})", seconds, busy=True)
        if status in (408, 409, 425) or status >= 500:
            return _Again(message or f"the server failed (status {status})", seconds)
        blamed = remote.blamed(message, self._extras)
        if blamed:
            # It does not take the fields that switch thinking on or off, so it is asked without.
            self._extras = {name: value for name, value in self._extras.items() if name not in blamed}
            return _Again(message, 0.0, busy=True)
        return _Lost(message or f"the server refused the question (status {status})")

    def _read(self, record: Any, draw: Draw, id_: str, body: remote.Record) -> Said:
        """What a whole answer says. Raises _Again for what is none."""
        choices = record.get("choices") if isinstance(record, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        if not isinstance(message, dict):
            told = remote.said(record, self.secrets)[0] if isinstance(record, dict) and record.get("error") else ""
            raise _Again(told or "the server sent something that is no answer")
        thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
        content = _text(message.get("content")) or _text(message.get("refusal"))
        ended = choice.get("finish_reason") in _STOPPED
        thought, answer, cut, apart = divided(thought, content)
        given = record.get("usage")
        usage = given if isinstance(given, dict) else {}
        prompt_tokens, tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        estimated = prompt_tokens is None or tokens is None
        if prompt_tokens is None or tokens is None:
            prompt_tokens, tokens = _about(body), _tokens(thought + content)
        return Said(
            id=id_,
            purpose=self.purpose,
            task=draw.problem.task,
            seed=draw.problem.seed,
            sample=draw.index,
            thought=thought,
            answer=answer,
            cut=cut or (not ended and not answer),
            apart=apart,
            finish="stop" if ended else "length",
            prompt_tokens=prompt_tokens,
            tokens=tokens,
            estimated=estimated,
            usd=self._cost(prompt_tokens, tokens),
            seconds=0.0,
        )

    def _body(self, draw: Draw) -> remote.Record:
        s = self.section
        body: remote.Record = {"model": self.model, "messages": [{"role": "user", "content": self._question(draw)}]}
        if not remote.reasons(self.model, self.kind):  # those of OpenAI that think are drawn as they are
            body |= {"temperature": s.temperature, "top_p": s.top_p}
        return body | {"seed": sample_seed(self.seed, draw)} | remote.most_tokens(self._most(draw), self.kind)

    def _question(self, draw: Draw) -> str:
        return f"{draw.problem.prompt}\n\n{self.settings.tell}" if self.settings.tell else draw.problem.prompt

    def _most(self, draw: Draw) -> int:
        """The most tokens of an answer: those asked for, or what the server's context leaves."""
        if self.context is None:
            return self.section.max_tokens
        return max(1, min(self.section.max_tokens, self.context - _tokens(self._question(draw)) - 64))

    def _id(self, draw: Draw) -> str:
        """What makes a question another one."""
        s = self.section
        asked = [self.api, self.model, self._question(draw), s.temperature, s.top_p, s.max_tokens, s.thinking]
        text = json.dumps([*asked, self.seed, draw.problem.task, draw.problem.seed, draw.index])
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def _cost(self, prompt_tokens: int, tokens: int) -> float:
        return (prompt_tokens * self.settings.usd_in + tokens * self.settings.usd_out) / 1e6


def connect(
    section: SampleSection, seed: int, journal: Journal, *, by: str = "--teacher-model", **given: Any
) -> Endpoint:
    """Asks the server which models it has. by: the option that names one of them. given: further arguments of
    `Endpoint`.

    Raises ConfigError for an address or a key that cannot be used, UnknownNameError for a model that it does not have,
    DenkenError where it does not answer or refuses the key.
    """
    settings = section.endpoint or EndpointSection()
    api, root = remote.addresses(section.model, "the server")
    key = remote.read_key(settings.key_env, "the server")
    status, record = _get(f"{api}/models", key)
    if status in (401, 403):
        raise DenkenError(
            "The server refused our key; put the right one into a variable and name it, as in --key-env "
            f"NAME. It said: {remote.said(record, remote.secrets(key, root))[0] or 'nothing'}"
        )
    listed = record.get("data") if isinstance(record, dict) else None
    records = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    offers = {one["id"]: one for one in records if remote.is_name(one.get("id"))}
    name = settings.name or (next(iter(offers)) if len(offers) == 1 else None)
    if name is None:
        some = ", ".join(list(offers)[:8]) or "none that it names"
        raise ConfigError(f"The server has several models or none ({some}); say which by {by}.")
    if offers and name not in offers:
        some = ", ".join(list(offers)[:8])
        raise UnknownNameError(f"The server has no model {name!r}; it has {some}.")
    context = remote.context_of(offers[name]) if name in offers else None
    kind = remote.kind_of(api, [offers[name]] if name in offers else records)
    return Endpoint(section, seed, journal, model=name, kind=kind, context=context, **given)


def divided(thought: str, content: str) -> tuple[str, str, bool, bool]:
    """Thought, answer, whether the answer is still to come, and whether there was one closed thought.

    A server that does not tell thoughts apart leaves them in the content, with both tags, or with the closing one alone
    where its prompt opened the thought.

    >>> divided("", "<think>\\n3 * 4 = 12\\n</think>\\n\\n12")
    ('3 * 4 = 12', '12', False, True)
    >>> divided("", "12")
    ('', '12', False, False)
    """
    if thought.strip():
        return thought.strip("\n"), content.strip(), False, True
    opened = content.lstrip().startswith(THINK)
    if not opened and END_THINK not in content:
        return "", content.strip(), False, False
    inside, closer, answer = content.partition(END_THINK)
    inside = inside.lstrip().removeprefix(THINK) if opened else inside
    return inside.strip("\n"), answer.strip(), not closer, bool(closer)


def _get(url: str, key: str | None) -> tuple[int, Any]:
    """Status and JSON; None for what is none. Raises DenkenError where nothing answers."""
    deadline = time.monotonic() + LIST_SECONDS
    parts = bytearray()
    try:
        with (
            httpx.Client(verify=remote.verify(url), trust_env=False, timeout=LIST_SECONDS) as client,
            client.stream("GET", url, headers=remote.headers(key)) as response,
        ):
            for chunk in response.iter_raw():
                parts += chunk
                if len(parts) > ANSWER_BYTES or time.monotonic() > deadline:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise DenkenError(
            f"The server does not answer ({type(error).__name__}); is it running, and is its address right?"
        ) from None
    with suppress(ValueError):
        return response.status_code, remote.parse(bytes(parts))
    return response.status_code, None


def _about(body: Mapping[str, Any]) -> int:
    """About how many tokens a prompt has: rather too many, since money is held against it."""
    return sum(_tokens(message["content"]) for message in body["messages"]) + 16


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


def _text(value: Any) -> str:
    return whole_characters(value) if isinstance(value, str) else ""
