"""An engine with a thread of its own: requests come from any thread or event loop, ids go back as they are sampled.

Whoever stops listening (breaks out of the loop, closes the iterator, is cancelled) aborts their request. If a step
fails, everyone who waits is told so and the thread goes on with the next request; if the thread itself ends, everyone
is told that too. Nobody is left waiting. Text, HTTP and quotas are others' matters.

When nobody waits, the thread computes what was put down by `warm`: texts that the next requests are likely to begin
with, latest first, a few ids at a time; what comes in between is served first.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from denken.engine.sequence import Output
from denken.errors import DenkenError
from denken.types import SamplingParams

if TYPE_CHECKING:
    from denken.engine.apart import Apart, Guesses
    from denken.engine.engine import Engine
    from denken.engine.speculate import Speculation

log = logging.getLogger("denken.engine")

# Texts that are to be computed ahead; beyond this many the oldest are forgotten.
MOST_WARMING = 16


class OverloadedError(DenkenError, RuntimeError):
    """So many requests wait already that another would only wait in vain; it may be tried again later."""


class EngineError(DenkenError, RuntimeError):
    """The engine failed, or was shut down, while a request was under way."""


class Loop(Protocol):
    """What is needed of an event loop. RuntimeError: it is there no more."""

    def call_soon_threadsafe(
        self, callback: Callable[[list[Delivery]], object], deliveries: list[Delivery], /
    ) -> object: ...


@dataclass(eq=False, slots=True)
class Listener:
    """One request, and where its outputs go. request: its number once the engine has taken it.

    loop: the event loop that `put` must be called in; None where any thread may.
    """

    prompt_ids: list[int]
    params: SamplingParams
    thinking: bool
    put: Callable[[Output | DenkenError], object]
    loop: Loop | None = None
    adapter: int = 0
    request: int | None = None
    begun: bool = False
    done: bool = False


Delivery = tuple[Listener, Output | DenkenError]

# Waking an event loop costs both threads time, so that outputs for one wait for one another: this long for each
# request that runs, and never longer than the second. A request's first output and its last go at once.
GATHER_SECONDS = 0.001
MOST_GATHER_SECONDS = 0.05


@dataclass(eq=False, slots=True)
class Text:
    """A text to compute ahead; `ids` once it was made."""

    make: Callable[[], Sequence[int]]
    adapter: int = 0
    ids: Sequence[int] | None = None


# Why requests are not taken any more.
SHUT_DOWN = "The engine was shut down; send the request again when it is back."


class Requests(ABC):
    """Requests as iterators, let in from `start` to `close`, whoever it is that listeners are brought to."""

    def __init__(self) -> None:
        # Guards who is listening, and whether anyone may still be added.
        self._lock = threading.Lock()
        self._open = False
        self._why_closed = "The engine is not running; start its stream before sending requests."
        self._threads: list[threading.Thread] = []

    @property
    def alive(self) -> bool:
        """Whether requests are taken."""
        return self._open

    @property
    def down(self) -> bool:
        """Whether they were taken, and are no more, or not for a while."""
        return bool(self._threads) and not self._open

    def _let_in(self, **works: Callable[[], None]) -> None:
        """Takes requests from now on, for threads that begin now and do these works."""
        if self._threads:
            raise EngineError("This stream was started before; make a new one for the engine.")
        self._open = True
        self._threads = [
            threading.Thread(target=work, name=f"denken-{name}", daemon=True) for name, work in works.items()
        ]
        for thread in self._threads:
            thread.start()

    def _admit(self, listening: int, most: int) -> None:
        """Raises EngineError or OverloadedError where one more cannot be added. Whoever calls it holds the lock."""
        if not self._open:
            raise EngineError(self._why_closed)
        if listening >= most:
            raise OverloadedError(f"{listening} requests run or wait, which is all this engine takes; try again later.")

    async def generate(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, thinking: bool = True, adapter: int = 0
    ) -> AsyncGenerator[Output, None]:
        """The request's outputs as they come, several in one where many requests run; the last has a finish_reason.

        thinking, adapter: as in `Engine.add`.
        Raises on the first iteration RequestError (see `Engine.check`) or OverloadedError, on any EngineError.
        To abort at a certain moment rather than when Python collects the iterator, use `contextlib.aclosing`.
        """
        outputs: asyncio.Queue[Output | DenkenError] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        listener = self.submit(Listener(list(prompt_ids), params, thinking, outputs.put_nowait, loop, adapter))
        try:
            while True:
                items = [await outputs.get()]
                while not outputs.empty():
                    items.append(outputs.get_nowait())
                error = items.pop() if isinstance(items[-1], DenkenError) else None
                if items:
                    output = _joined([_checked(item) for item in items])
                    yield output
                    if output.finish_reason is not None:
                        return
                if error is not None:
                    _checked(error)
        finally:
            self.leave(listener)

    def generate_sync(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, thinking: bool = True, adapter: int = 0
    ) -> Generator[Output, None, None]:
        """As `generate`, for threads without an event loop."""
        outputs: queue.SimpleQueue[Output | DenkenError] = queue.SimpleQueue()
        listener = self.submit(Listener(list(prompt_ids), params, thinking, outputs.put, adapter=adapter))
        try:
            while True:
                output = _checked(outputs.get())
                yield output
                if output.finish_reason is not None:
                    return
        finally:
            self.leave(listener)

    @abstractmethod
    def submit(self, listener: Listener) -> Listener:
        """Begins a request. Raises RequestError, OverloadedError and EngineError, as `generate` does."""

    @abstractmethod
    def leave(self, listener: Listener) -> None:
        """Nobody listens any more; what is not finished is aborted."""


class Stream(Requests):
    """Steps an engine in a thread. max_waiting: how many requests may wait beside those that can run.

    From `start` (or `with`) to `close` the engine belongs to this thread alone; after `close` it can be used directly.
    """

    def __init__(self, engine: Engine, *, max_waiting: int = 256) -> None:
        super().__init__()
        self.engine = engine
        self.max_waiting = max_waiting
        self._orders: queue.SimpleQueue[Listener | Text | None] = queue.SimpleQueue()
        self._warming: deque[Text] = deque(maxlen=MOST_WARMING)
        self._listeners: set[Listener] = set()
        self._by_request: dict[int, Listener] = {}
        # Outputs that wait for others to come along, and when any last went.
        self._held: dict[Listener, list[Output]] = {}
        self._handed_over = 0.0

    def start(self) -> Stream:
        self._let_in(engine=self._work)
        return self

    def close(self) -> None:
        """Ends the thread after the step under way; requests that are not finished get an EngineError."""
        if self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Stream:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def most(self) -> int:
        """How many requests may run or wait at a time."""
        return self.engine.max_sequences + self.max_waiting

    def check(self, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        """Raises RequestError for what can never be served (see `Engine.check`); in any thread, started or not."""
        self.engine.check(prompt_ids, params)

    @property
    def speculation(self) -> Speculation | None:
        """Who guesses how texts go on, and how many of the guesses were right."""
        return self.engine.speculation

    def learn(self, folder: Path, *, base: str = "this model") -> int:
        """As `Engine.learn`."""
        return self.engine.learn(folder, base=base)

    def warm(self, make: Callable[[], Sequence[int]], *, adapter: int = 0) -> None:
        """Has a text computed ahead when there is nothing else to do. make: its ids; called in the engine's thread."""
        self._orders.put(Text(make, adapter))

    def submit(self, listener: Listener) -> Listener:
        self.engine.check(listener.prompt_ids, listener.params)
        with self._lock:
            self._admit(len(self._listeners), self.most)
            self._listeners.add(listener)
            self._orders.put(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Tells the thread, which sees to it before its next step."""
        if not listener.done:
            listener.done = True
            self._orders.put(listener)

    def _work(self) -> None:
        reason = SHUT_DOWN
        try:
            while self._take_orders():
                # Whoever uses the engine beside this thread must not have steps taken for them: what came of them
                # would be lost.
                if self._by_request:
                    self._step()
                else:
                    self._warm_latest()
        except BaseException as error:
            log.exception("The engine's thread ends")
            reason = f"The engine's thread ended ({type(error).__name__}: {error}); restart the server."
        finally:
            with self._lock:
                self._open, self._why_closed = False, reason
            self._fail_all(reason)

    def _take_orders(self) -> bool:
        """Lets requests in and out; waits for one if there is nothing else to do. False: the thread is to end."""
        wait = not (self._by_request or self._warming)
        while True:
            try:
                order = self._orders.get(block=wait)
            except queue.Empty:
                return True
            if order is None:
                return False
            if isinstance(order, Text):
                self._warming.append(order)
            elif order.done:
                self._drop(order)
            else:
                self._add(order)
            wait = wait and not (self._by_request or self._warming)

    def _add(self, listener: Listener) -> None:
        try:
            listener.request = self.engine.add(
                listener.prompt_ids, listener.params, thinking=listener.thinking, adapter=listener.adapter
            )
        except DenkenError as error:
            self._end(listener, error)
        else:
            self._by_request[listener.request] = listener

    def _step(self) -> None:
        try:
            outputs = self.engine.step()
        except Exception as error:
            log.exception("A step of the engine failed; its requests are given up")
            self._fail_all(f"The engine failed during this request ({type(error).__name__}: {error}); send it again.")
            return
        due: list[Listener] = []
        for output in outputs:
            listener = self._by_request.get(output.request)
            if listener is None or listener.done:
                continue
            self._held.setdefault(listener, []).append(output)
            if output.finish_reason is not None or not listener.begun or listener.loop is None:
                due.append(listener)
            if output.finish_reason is not None:
                listener.done = True
                self._forget(listener)
        self._hand_over(due)

    def _hand_over(self, due: Iterable[Listener]) -> None:
        """Delivers what is held for those whose turn it is, and for everybody where enough time has passed."""
        now = time.monotonic()
        if now - self._handed_over >= min(GATHER_SECONDS * len(self._by_request), MOST_GATHER_SECONDS):
            due, self._handed_over = list(self._held), now
        deliveries: list[Delivery] = []
        for listener in due:
            listener.begun = True
            deliveries += [(listener, output) for output in self._held.pop(listener, ())]
        for listener in deliver(deliveries):
            self._drop(listener)

    def _warm_latest(self) -> None:
        """A small part of the text that was put down last; what goes wrong with it harms nobody."""
        if not self._warming:
            return
        text, more = self._warming[-1], False
        try:
            if text.ids is None:
                text.ids, more = text.make(), True
            else:
                more = self.engine.warm(text.ids, adapter=text.adapter)
        except Exception:
            log.exception("A text could not be computed ahead")
        if not more:
            self._warming.pop()

    def _end(self, listener: Listener, error: DenkenError) -> None:
        """Delivers what is held for a request, and the error that it ends by; forgets it."""
        held = self._held.pop(listener, [])
        self._forget(listener)
        if not listener.done:
            listener.done = True
            deliver([*((listener, output) for output in held), (listener, error)])

    def _drop(self, listener: Listener) -> None:
        if listener.request is not None:
            self.engine.abort(listener.request)
        listener.done = True
        self._held.pop(listener, None)
        self._forget(listener)

    def _forget(self, listener: Listener) -> None:
        if listener.request is not None:
            self._by_request.pop(listener.request, None)
        with self._lock:
            self._listeners.discard(listener)

    def _fail_all(self, reason: str) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            if listener.request is not None:
                self.engine.abort(listener.request)
            self._end(listener, EngineError(reason))


class Under:
    """A stream whose requests are all computed with one adapter. Others may go on asking the stream itself.

    adapter: a number that `Engine.learn` gave.
    """

    def __init__(self, stream: Stream | Apart, adapter: int) -> None:
        self.stream, self.adapter = stream, adapter

    @property
    def engine(self) -> Engine:
        return self.stream.engine

    @property
    def speculation(self) -> Speculation | Guesses | None:
        return self.stream.speculation

    @property
    def down(self) -> bool:
        return self.stream.down

    def start(self) -> None:
        self.stream.start()

    def close(self) -> None:
        self.stream.close()

    def check(self, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        self.stream.check(prompt_ids, params)

    def warm(self, make: Callable[[], Sequence[int]]) -> None:
        self.stream.warm(make, adapter=self.adapter)

    def generate(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, thinking: bool = True
    ) -> AsyncGenerator[Output, None]:
        return self.stream.generate(prompt_ids, params, thinking=thinking, adapter=self.adapter)

    def generate_sync(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, thinking: bool = True
    ) -> Generator[Output, None, None]:
        return self.stream.generate_sync(prompt_ids, params, thinking=thinking, adapter=self.adapter)


def _checked(item: Output | DenkenError) -> Output:
    if isinstance(item, DenkenError):
        raise item
    return item


def _joined(outputs: list[Output]) -> Output:
    """Outputs of one request that follow each other, as one."""
    if len(outputs) == 1:
        return outputs[0]
    last = outputs[-1]
    return Output(
        last.request,
        tuple(id for output in outputs for id in output.ids),
        tuple(logprob for output in outputs for logprob in output.logprobs),
        last.finish_reason,
        last.cached_tokens,
        tuple(top for output in outputs for top in output.top_logprobs),
        last.surplus,
        tuple(kept for output in outputs for kept in output.kept),
    )


def deliver(deliveries: list[Delivery]) -> list[Listener]:
    """Hands everything over, an event loop being woken once for all that it gets; returns whose loop is gone."""
    by_loop: dict[Loop, list[Delivery]] = {}
    for listener, item in deliveries:
        if listener.loop is None:
            listener.put(item)
        else:
            by_loop.setdefault(listener.loop, []).append((listener, item))
    gone: list[Listener] = []
    for loop, part in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put, part)
        except RuntimeError:
            gone += [listener for listener, _ in part]
    return gone


def _put(deliveries: list[Delivery]) -> None:
    for listener, item in deliveries:
        listener.put(item)
