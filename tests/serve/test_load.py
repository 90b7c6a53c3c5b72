"""Many at once, short forms of `benchmarks/serve.py`: a real engine of random weights behind the server."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import time
from collections.abc import Coroutine
from pathlib import Path

import pytest

from denken.assistant import load
from denken.serve.app import create_app
from scripted import write_model

STATM = Path("/proc/self/statm")
QUESTION = "The canary is {}."


@pytest.fixture(scope="module")
def assistant(tokenizer, tmp_path_factory):
    with load(write_model(tmp_path_factory.mktemp("model"), tokenizer), threads=1) as assistant:
        yield assistant


@pytest.fixture(scope="module")
def served(assistant, run_server):
    """The port, and the application's places."""
    app = create_app(assistant)
    with run_server(app) as (port, _):
        yield port, app.state.places


def request(port: int, question: str, **fields: object) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": question}], "temperature": 0, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, question: str, **fields: object) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(port, question, **fields))
    try:
        return await asyncio.wait_for(reader.read(-1), 60)
    finally:
        writer.close()


def said(response: bytes) -> str:
    assert response.startswith(b"HTTP/1.1 200"), response[:300]
    assert b"data: [DONE]" in response, response[-300:]
    records = [json.loads(line[6:]) for line in response.split(b"\n") if line.startswith(b"data: {")]
    deltas = [choice["delta"] for record in records for choice in record["choices"]]
    return "".join(delta.get("reasoning_content") or delta.get("content") or "" for delta in deltas)


def idle(assistant, places) -> bool:
    return places.taken == 0 and not assistant.engine.has_work


def test_64_streams_at_once_have_the_text_that_each_has_alone(served):
    port, _ = served

    def one(number: int) -> Coroutine[None, None, bytes]:
        # A model of random weights says the same to everything; what differs is the seed.
        return ask(port, QUESTION.format(number), stream=True, max_tokens=24, temperature=1, seed=number)

    async def alone() -> list[bytes]:
        return [await one(number) for number in range(64)]

    async def together() -> list[bytes]:
        return await asyncio.gather(*(one(number) for number in range(64)))

    before = [said(response) for response in asyncio.run(alone())]
    assert len(set(before)) == 64
    assert [said(response) for response in asyncio.run(together())] == before


def test_hang_ups_at_random_moments_leave_nothing_behind(assistant, served, wait_until):
    port, places = served
    blocks = assistant.engine.free_blocks
    rng = random.Random(1)

    async def hang_up(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        data = request(port, QUESTION.format(number), stream=number % 2 == 0)
        writer.write(data if number % 10 else data[: rng.randrange(len(data))])
        await asyncio.sleep(rng.random() * 0.05)
        writer.transport.abort() if number % 3 else writer.close()

    async def crowd() -> None:
        for start in range(0, 160, 32):
            await asyncio.gather(*(hang_up(start + number) for number in range(32)))

    asyncio.run(crowd())
    wait_until(lambda: idle(assistant, places), 30)
    assert assistant.engine.free_blocks == blocks
    assert said(asyncio.run(ask(port, "still there?", stream=True, max_tokens=4))) is not None


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_while_the_prompt_is_read_frees_the_slot_within_a_step(assistant, served, wait_until, stream):
    """Every step of the prompt is made to take long; there would be several."""
    port, places = served
    engine, step, took = assistant.engine, assistant.engine.step, 0.3
    steps = []

    def slow():
        time.sleep(took)
        steps.append(time.monotonic())
        return [] if len(steps) < 20 else step()  # a prompt that is read for twenty steps

    engine.step = slow
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request(port, "A long one.", stream=stream))
            wait_until(lambda: bool(steps))
        left = time.monotonic()
        wait_until(lambda: idle(assistant, places))
        # One step and 100 ms, and as much again for a busy machine.
        assert time.monotonic() - left < 2 * (took + 0.1)
        assert len(steps) < 6
    finally:
        engine.step = step


def resident_mib() -> float:
    gc.collect()
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not STATM.exists(), reason="only Linux says how much memory is resident")
def test_memory_does_not_grow_with_requests(served):
    port, _ = served

    async def hundreds() -> None:
        places = asyncio.Semaphore(16)

        async def one(number: int) -> None:
            async with places:
                said(await ask(port, QUESTION.format(number), stream=True, max_tokens=2))

        await asyncio.gather(*(one(number) for number in range(300)))

    asyncio.run(hundreds())
    before = resident_mib()
    for _ in range(2):
        asyncio.run(hundreds())
    grown = resident_mib() - before
    assert grown < 6, f"{grown:.1f} MiB more after 600 requests"
