"""An engine in a process of its own, asked as a `Stream` is.

Python runs one thread of a process at a time. An engine of a small network needs it hundreds of times a second, and so
does whoever hands out what it says: in one process they wait for one another, on two cores.

The process reads orders from its standard input and writes news to its standard output (`lines.py`); what it does is
`answering.py`. It ends when its input does, so it outlives nobody.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denken.engine.grammar import Grammars
from denken.engine.limits import Limits
from denken.engine.lines import error_of, line, output_of
from denken.engine.sequence import Output
from denken.engine.stream import (
    MOST_WARMING,
    SHUT_DOWN,
    Delivery,
    EngineError,
    Listener,
    Requests,
    Text,
    deliver,
)
from denken.errors import ConfigError, DenkenError
from denken.types import SamplingParams

if TYPE_CHECKING:
    from denken.engine.engine import Engine

log = logging.getLogger("denken.engine")

# A process that ends sooner than this after it was ready would end again.
TOO_SOON_SECONDS = 30.0
END_SECONDS = 10.0


@dataclass(slots=True)
class Guesses:
    """How many ids were guessed, and how many of them were right."""

    guessed: int
    accepted: int


class Apart(Requests):
    """Begins a process, and asks it. command: what begins it; it is to call `answering.answer`, or `refuse`.

    `meet` waits until it is ready, `start` lets requests in. Where the process dies, whoever waits is told so, and
    another one is begun.
    """

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__()
        self._command = list(command)
        self._changed = threading.Condition(self._lock)
        self._writing = threading.Lock()
        self._listeners: dict[int, Listener] = {}
        self._learnt: list[tuple[Path, str]] = []
        self._warming: deque[Text] = deque(maxlen=MOST_WARMING)
        self._next, self._most = 0, 0
        self._guesses: Guesses | None = None
        self._limits: Limits | None = None
        self._closing = False
        self._ready = 0.0
        self._process = self._begin()

    def meet(self, grammars: Grammars) -> Limits:
        """Waits for the process to be ready. grammars: of its vocabulary. Raises what it could not begin for."""
        first = self._first_news()
        self._limits = Limits(first["context"], first["cache"], first["vocabulary"], grammars)
        self._most = first["most"]
        return self._limits

    def start(self) -> Apart:
        self._let_in(news=self._listen, warm=self._warm)
        return self

    def close(self) -> None:
        """Ends the process after the step under way; requests that are not finished get an EngineError."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._limits is None:  # it still loads, and looks at no orders
            self._process.kill()
        self._end(self._process)
        for thread in self._threads:
            thread.join()

    @property
    def engine(self) -> Engine:
        raise ConfigError("This model's engine is in a process of its own; load the model without `apart` to use it.")

    @property
    def speculation(self) -> Guesses | None:
        """How many ids were guessed so far, and how many were right."""
        return self._guesses

    def check(self, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        """Raises RequestError for what can never be served; in any thread, once the process was met."""
        assert self._limits is not None
        self._limits.check(prompt_ids, params)

    def warm(self, make: Callable[[], Sequence[int]], *, adapter: int = 0) -> None:
        """As `Stream.warm`; the ids are made in a thread of this process, when nobody waits for anything."""
        with self._changed:
            self._warming.append(Text(make, adapter))
            self._changed.notify_all()

    def learn(self, folder: Path, *, base: str = "this model") -> int:
        """As `Engine.learn`, as long as nobody has asked anything yet."""
        if self._threads:
            raise ConfigError(f"{base} answers already; put {folder} over it before it is asked.")
        number = self._learn(folder, base)
        self._learnt.append((folder, base))
        return number

    def submit(self, listener: Listener) -> Listener:
        self.check(listener.prompt_ids, listener.params)
        with self._lock:
            self._admit(len(self._listeners), self._most)
            self._next += 1
            number = listener.request = self._next
            self._listeners[number] = listener
        order = {"ask": number, "ids": listener.prompt_ids, "params": asdict(listener.params)}
        self._order(order | {"thinking": listener.thinking, "adapter": listener.adapter})
        return listener

    def leave(self, listener: Listener) -> None:
        if not listener.done:
            listener.done = True
            self._forget(listener)
            self._order({"leave": listener.request})

    def _forget(self, listener: Listener) -> None:
        with self._changed:
            if listener.request is not None:
                self._listeners.pop(listener.request, None)
            self._changed.notify_all()

    def _listen(self) -> None:
        """Until the process is to end: hands out its news, and begins another one where it died."""
        while True:
            process = self._process
            assert process.stdout is not None
            for text in process.stdout:
                self._read(json.loads(text))
            code = process.wait()
            reason = SHUT_DOWN
            if not self._closing:
                log.error("The engine's process ended by itself (code %d).", code)
                reason = "The engine's process ended during this request; send it again."
            self._close_doors(reason)
            if self._closing:
                return
            try:
                if time.monotonic() - self._ready < TOO_SOON_SECONDS:
                    raise EngineError(f"it ended within {TOO_SOON_SECONDS:.0f} seconds")
                self._begin_again()
            except (DenkenError, OSError) as error:
                log.error("No other one was begun: %s", error)
                self._why_closed = f"The engine's process ended, and no other was begun ({error}); restart the server."
                return

    def _begin_again(self) -> None:
        self._why_closed = "The engine ended by itself and is begun anew; send the request again in a moment."
        self._process = self._begin()
        self._first_news()
        try:
            # In the same order, which gives them the same numbers.
            for folder, base in self._learnt:
                self._learn(folder, base)
        except DenkenError:
            self._end(self._process)
            raise
        with self._changed:
            self._open = not self._closing
            self._changed.notify_all()
        if self._closing:
            self._end(self._process)

    def _close_doors(self, reason: str) -> None:
        with self._changed:
            self._open, self._why_closed = False, reason
            listeners = list(self._listeners.values())
            self._listeners.clear()
            self._changed.notify_all()
        for listener in listeners:
            listener.done = True
        deliver([(listener, EngineError(reason)) for listener in listeners])

    def _read(self, news: Mapping[str, Any]) -> None:
        items: list[tuple[int, Output | DenkenError]]
        if "failed" in news:
            items = [(news["failed"], error_of(news["error"]))]
        else:
            items = [(output.request, output) for output in map(output_of, news["said"])]
            self._count(news["guesses"])
        deliveries: list[Delivery] = []
        for number, item in items:
            listener = self._listeners.get(number)
            if listener is None or listener.done:
                continue
            if isinstance(item, DenkenError) or item.finish_reason is not None:
                listener.done = True
                self._forget(listener)
            deliveries.append((listener, item))
        for listener in deliver(deliveries):
            self.leave(listener)

    def _count(self, guesses: list[int] | None) -> None:
        """In place: adapters over one engine are to be seen to share one count."""
        if guesses is None:
            return
        if self._guesses is None:
            self._guesses = Guesses(*guesses)
        self._guesses.guessed, self._guesses.accepted = guesses

    def _warm(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or (self._open and self._warming and not self._listeners))
                if self._closing:
                    return
                text = self._warming.pop()
            try:
                self._order({"warm": list(text.make()), "adapter": text.adapter})
            except Exception:
                log.exception("A text could not be computed ahead")

    def _learn(self, folder: Path, base: str) -> int:
        """Nobody else reads the news meanwhile."""
        self._order({"learn": str(folder.absolute()), "base": base})
        number: int = self._next_news()["learnt"]
        return number

    def _begin(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _first_news(self) -> dict[str, Any]:
        try:
            news = self._next_news()
        except BaseException:
            self._end(self._process)
            raise
        self._ready = time.monotonic()
        return news

    def _next_news(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise EngineError(f"The engine's process ended with code {self._process.wait()} before it said anything.")
        news: dict[str, Any] = json.loads(text)
        if "error" in news:
            raise error_of(news["error"])
        return news

    def _order(self, order: Mapping[str, Any]) -> None:
        """What is written to a process that has died is answered by its end."""
        text, stdin = line(order), self._process.stdin
        assert stdin is not None
        with self._writing:
            try:
                stdin.write(text)
                stdin.flush()
            except (OSError, ValueError):
                log.debug("The engine's process takes no orders any more.")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """It ends when its input does; one that does not is killed."""
        assert process.stdin is not None
        with self._writing:
            try:
                process.stdin.close()
            except OSError:
                log.debug("The engine's process had ended before.")
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
