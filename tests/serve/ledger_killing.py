"""Servers that are killed while clients ask them: a process that sends itself SIGKILL at the n-th thing that it does.

What it does, as it is counted: an SQL statement is about to be run or has been run, a transaction is about to be
committed or has been, a part of a response is about to be handed to uvicorn or has been. Clients ask all the while,
streamed and not, and remember the requests whose answers reached them whole. Used by `test_ledger.py` and by
`benchmarks/ledger_kill.py`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import signal
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import event, func, select

from denken.about import About
from denken.serve import keys, ledger, tables
from denken.serve.alive import Alive
from denken.serve.app import create_app
from denken.serve.keydesk import KeyDesk
from denken.serve.listen import listen
from denken.serve.money import nano
from denken.serve.server import server
from denken.serve.speaker import Ask, Piece, TextAsk, Usage
from denken.serve.store import open_store
from denken.types import FinishReason, SamplingParams

PER_HOUR = nano("1000")
CLIENTS = 4


@dataclass
class Reply:
    """Two words after two short waits."""

    usage: Usage = field(default_factory=lambda: Usage(10))
    most_tokens: int = 20
    finish_reason: FinishReason = "stop"
    stop_string: str | None = None

    async def begin(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        for number in (1, 2):
            await asyncio.sleep(0.002)
            self.usage = Usage(10, 4, 0, number)
            yield Piece("answer", "word ")


class Speaker:
    name, created, context = "words", 1_700_000_000, 1000
    defaults = SamplingParams()
    about = About()

    def reply(self, ask: Ask) -> Reply:
        return Reply()

    def complete(self, ask: TextAsk) -> Reply:
        return Reply()

    def count(self, ask: Ask) -> int:
        return 10


def kill(url: str, secret: str, point: int) -> tuple[set[str], str]:
    """Runs a server to its event number `point`; the requests that were acknowledged, and what it was doing."""
    context = multiprocessing.get_context("forkserver")
    # What takes long to import, and lies where every Python looks: paths of the tests come too late for it.
    context.set_forkserver_preload(["denken.serve.app", "denken.serve.keydesk", "denken.serve.server", "httpx"])
    mine, its = context.Pipe(duplex=False)
    with closing(listen("127.0.0.1", 0)) as listener:
        process = context.Process(target=_serve, args=(url, listener, point, its))
        process.start()
        its.close()
        acknowledged: set[str] = set()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # Two threads that look at a process's exit code at once take it from each other, so only this one looks.
        killed = threading.Event()
        clients = [
            threading.Thread(target=_ask, args=(address, secret, killed, acknowledged, number))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        process.join(120)
        killed.set()
        assert process.exitcode == -signal.SIGKILL, f"The server ended with {process.exitcode}."
    # Only now is nobody left who would answer a connection.
    for client in clients:
        client.join(60)
    return acknowledged, mine.recv()


def faults(url: str, acknowledged: set[str]) -> list[str]:
    """What is wrong with a store after a server was killed and the next one has started on it: nothing, it is hoped."""
    found = []
    with open_store(url) as store:
        with closing(Alive(store)) as alive:
            ledger.settle_lost(store, alive)
        with store.read() as connection:
            lines = {row["id"]: row for row in connection.execute(select(tables.requests)).mappings()}
            key = connection.execute(select(tables.keys)).mappings().one()
            charged = connection.execute(select(func.coalesce(func.sum(tables.requests.c.charged), 0))).scalar_one()
    for request in acknowledged:
        line = lines.get(request)
        if line is None or line["outcome"] != "done" or line["answer_tokens"] != 2 or not line["charged"]:
            found.append(f"{request} was acknowledged, and its line is {dict(line) if line else 'lost'}")
    found += [f"{request} is still open" for request, line in lines.items() if line["outcome"] == "open"]
    if key["spent"] != charged:
        found.append(f"the key has spent {key['spent']}, and its lines say {charged}")
    if key["reserved"] or key["running"]:
        found.append(f"of the key {key['reserved']} are still reserved for {key['running']} replies")
    return found


def outcomes(url: str) -> dict[str, int]:
    """How many lines ended how."""
    with open_store(url) as store, store.read() as connection:
        c = tables.requests.c
        counted = select(c.outcome, func.count()).group_by(c.outcome).order_by(c.outcome)
        return dict(connection.execute(counted).tuples().all())


def _serve(url: str, listener: socket.socket, point: int, report: Any) -> None:
    store = open_store(url)
    desk = KeyDesk(store, keys_on=True, per_hour=PER_HOUR)
    lock, seen = threading.Lock(), 0

    def happens(what: str) -> None:
        nonlocal seen
        with lock:
            seen += 1
            if seen == point:
                report.send(what)
                os.kill(os.getpid(), signal.SIGKILL)

    def brief(statement: str) -> str:
        return " ".join(re.findall(r"INSERT INTO \w+|UPDATE \w+|BEGIN|SELECT", statement)[:1])

    @event.listens_for(store.engine, "before_cursor_execute")
    def before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        happens(f"before {brief(statement)}")

    @event.listens_for(store.engine, "after_cursor_execute")
    def after(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        happens(f"after {brief(statement)}")

    commit = store.engine.dialect.do_commit

    def announced_commit(connection: Any) -> None:
        happens("before commit")
        commit(connection)
        happens("after commit")

    store.engine.dialect.do_commit = announced_commit  # type: ignore[method-assign]
    app = create_app(Speaker(), desk=desk)

    async def announced(scope: Any, receive: Any, send: Any) -> None:
        async def announced_send(message: Any) -> None:
            if scope["type"] == "http":
                happens("before a part of a response")
            await send(message)
            if scope["type"] == "http":
                happens("after a part of a response")

        await app(scope, receive, announced_send)

    server(announced, app.state.places, grace=1.0).run(sockets=[listener])


def _ask(address: str, secret: str, killed: threading.Event, acknowledged: set[str], number: int) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "stream": number % 2 == 0}
    with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
        while not killed.is_set():
            text, whole = "", False
            try:
                with client.stream("POST", "/v1/chat/completions", json=body) as response:
                    assert response.status_code == 200, response.read()
                    for part in response.iter_text():
                        text += part
                        # The end of a stream, or a whole record, is the acknowledgement, whatever comes after it.
                        whole = "data: [DONE]\n\n" in text if body["stream"] else _is_json(text)
                        if whole:
                            break
            except httpx.HTTPError:
                pass
            if whole:
                acknowledged.add(re.findall(r'"id":\s?"chatcmpl-(\w+)"', text)[0])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def new_key(url: str) -> str:
    """A key without limits in a new store, and its secret."""
    with open_store(url) as store, store.write() as connection:
        return keys.create(connection, "killed")
