"""The process of an engine that is put apart: orders from its input, news to its output (`lines.py`)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from denken.engine.lines import line, params_of, record, told
from denken.engine.stream import Delivery, Listener, Stream
from denken.errors import DenkenError


def answer(stream: Stream, orders: IO[bytes], news: IO[bytes]) -> None:
    """Does what orders say until there are no more; the stream is started and closed here."""
    wire = _Wire(stream, news)
    limits = stream.engine.limits
    wire.tell({"context": limits.context, "cache": limits.cache, "vocabulary": limits.vocabulary, "most": stream.most})
    with stream:
        for text in orders:
            order = json.loads(text)
            if "ask" in order:
                wire.ask(order)
            elif "leave" in order:
                wire.leave(order["leave"])
            elif "warm" in order:
                stream.warm(_always(order["warm"]), adapter=order["adapter"])
            else:
                wire.learn(order)


def refuse(error: DenkenError, news: IO[bytes]) -> None:
    """Says instead why there is no engine."""
    news.write(line({"error": told(error)}))
    news.flush()


class _Wire:
    """Stands where an event loop would: what the stream delivers at a time is one line of news."""

    def __init__(self, stream: Stream, news: IO[bytes]) -> None:
        self._stream, self._news = stream, news
        self._lock = threading.Lock()
        self._numbers: dict[Listener, int] = {}
        self._listeners: dict[int, Listener] = {}

    def tell(self, news: Mapping[str, Any]) -> None:
        text = line(news)
        with self._lock:
            self._news.write(text)
            self._news.flush()

    def ask(self, order: Mapping[str, Any]) -> None:
        params = params_of(order["params"])
        listener = Listener(order["ids"], params, order["thinking"], _nowhere, self, order["adapter"])
        # Before it is submitted: it may be answered at once.
        self._numbers[listener], self._listeners[order["ask"]] = order["ask"], listener
        try:
            self._stream.submit(listener)
        except DenkenError as error:
            self.call_soon_threadsafe(_nowhere, [(listener, error)])

    def leave(self, number: int) -> None:
        listener = self._forget(number)
        if listener is not None:
            self._stream.leave(listener)

    def learn(self, order: Mapping[str, Any]) -> None:
        try:
            self.tell({"learnt": self._stream.learn(Path(order["learn"]), base=order["base"])})
        except DenkenError as error:
            self.tell({"error": told(error)})

    def call_soon_threadsafe(self, callback: Callable[..., object], deliveries: list[Delivery], /) -> None:
        said: list[list[Any]] = []
        try:
            for listener, item in deliveries:
                number = self._numbers.get(listener)
                if number is None:  # who asked has left
                    continue
                if isinstance(item, DenkenError):
                    self._say(said)
                    said = []
                    self.tell({"failed": number, "error": told(item)})
                else:
                    said.append(record(number, item))
                if isinstance(item, DenkenError) or item.finish_reason is not None:
                    self._forget(number)
            self._say(said)
        except (OSError, ValueError) as error:
            raise RuntimeError("Nobody reads the news any more.") from error

    def _say(self, said: list[list[Any]]) -> None:
        if said:
            guesses = self._stream.speculation
            counts = None if guesses is None else [guesses.guessed, guesses.accepted]
            self.tell({"said": said, "guesses": counts})

    def _forget(self, number: int) -> Listener | None:
        listener = self._listeners.pop(number, None)
        if listener is not None:
            self._numbers.pop(listener, None)
        return listener


def _always(ids: Sequence[int]) -> Callable[[], Sequence[int]]:
    return lambda: ids


def _nowhere(_: object) -> None:
    pass
