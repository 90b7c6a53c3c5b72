"""A model that plays what a test tells it to, and the site that it talks on: `denken serve` as it is, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from speaking import FakeReply, FakeSpeaker, running

from denken.about import About, read_about
from denken.assistant import BUNDLED
from denken.search.found import Found, Look, Source
from denken.search.library import Library
from denken.search.provider import Hit
from denken.search.tool import Searcher
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.device import Device
from denken.serve.keydesk import KeyDesk
from denken.serve.runs import Runs
from denken.serve.speaker import Ask, Piece, Usage
from denken.serve.store import Store, open_store
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams

ABOUT = About(
    searches="inside",
    summary={"en": "An actor that says its lines.", "de": "Ein Schauspieler, der seinen Text kann."},
    examples={"en": ["What is 17 times 23?", "Say hello"], "de": ["Was ist 17 mal 23?", "Sag hallo"]},
)
# In a script: the reply waits here until the test opens the gate.
HOLD = Piece("think", "")


def think(text: str) -> Piece:
    return Piece("think", text)


def answer(text: str) -> Piece:
    return Piece("answer", text)


def search(query: str, *sources: Source, problem: str = "") -> list[Piece]:
    """A search within the thought, and what it found."""
    return [Piece("search", query), Piece("found", "", found=Found(query, sources, problem, 0.4))]


class Acted(FakeReply):
    """Says its pieces, `pause` seconds apart. look: what looks up the searches that bring no sources along."""

    look: Look | None = None

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        actor = self._speaker
        assert isinstance(actor, Actor)
        actor.begun += 1
        try:
            for piece in self._pieces:
                while piece is HOLD and not actor.gate.is_set():
                    await asyncio.sleep(0.01)
                if actor.pause:
                    await asyncio.sleep(actor.pause)
                if piece.text == "BREAK":
                    raise RuntimeError("secret detail")
                yield piece
                if piece.kind == "search" and self.look is not None:
                    yield Piece("found", "", found=await self.look(piece.text))
            self.usage = self._final
        finally:
            actor.ended += 1


class Actor(FakeSpeaker):
    """Plays the script whose key stands in the question; otherwise repeats the question.

    gate: opened, it lets every reply pass its HOLD. said: the questions, as the model read them.
    """

    name, context = "actor", 100_000

    def __init__(self) -> None:
        super().__init__()
        self.about = ABOUT
        self.scripts: dict[str, list[Piece]] = {}
        self.gate = threading.Event()
        self.said: list[str] = []

    def plays(self, key: str, *pieces: Piece | Sequence[Piece]) -> str:
        """Sets the script of a question; returns its key."""
        self.scripts[key] = [one for piece in pieces for one in ([piece] if isinstance(piece, Piece) else piece)]
        return key

    def reply(self, ask: Ask) -> FakeReply:
        self.asks.append(ask)
        question = ask.messages[-1].content
        self.said.append(question)
        script = next((pieces for key, pieces in self.scripts.items() if key in question), None)
        if script is None:
            script = [*([think("I repeat it.")] if ask.thinking else []), answer(question)]
        thought = [piece for piece in script if piece.kind == "think"]
        usage = Usage(10, 4, len(thought), sum(piece.kind == "answer" for piece in script))
        acted = Acted(self, script, usage, self.reason)
        acted.look = None if any(piece.kind == "found" for piece in script) else ask.look
        return acted


class Bundled(FakeSpeaker):
    """What the server says of the model in the box; that itself answers in the browser alone."""

    name, context = "bundled", 2048

    def __init__(self) -> None:
        super().__init__()
        self.about, self.defaults = read_about(BUNDLED), SamplingParams(temperature=0.0)


def taken_along(kept: Path) -> Device:
    """The model in the box as browsers fetch it, made once in the folder."""

    def make(folder: Path, out: Path) -> None:
        from denken.export import gguf

        gguf.export(folder, out, kind="q8_0")

    return Device(Bundled(), Tokenizer.load(BUNDLED), BUNDLED, kept, make)


class Nowhere:
    """A web search that finds nothing, and asks nobody."""

    name = "nowhere"

    async def search(self, query: str, seconds: float) -> list[Hit]:
        return []


@dataclass
class Site:
    """A server that runs: its model, its store, its address."""

    actor: Actor
    store: Store
    desk: KeyDesk
    port: int
    folder: Path
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin = f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    folder: Path, *, keys: bool = False, hosts: Sequence[str] = (), device: Device | None = None
) -> Iterator[Site]:
    """`denken serve` with an actor in the place of a model, its store and its runs in the folder."""
    actor, searcher = Actor(), Searcher(Nowhere(), Library(folder / "library.db"))
    (folder / "runs").mkdir()
    with (
        open_store(str(folder / "denken.db")) as store,
        closing(KeyDesk(store, keys, 40_000_000)) as desk,
        closing(Chats(store, searcher)) as chats,
    ):
        app = create_app(
            actor,
            allow_hosts=hosts,
            desk=desk,
            chats=chats,
            runs=Runs(folder / "runs"),
            searcher=searcher,
            device=device,
        )
        with running(app) as (port, _):
            yield Site(actor, store, desk, port, folder)
