"""The server under load: is everybody's text their own, is everything given back, and what does serving cost?

    make bench                                  # or: python benchmarks/serve.py
    python benchmarks/serve.py --only speed canaries disconnects memory --requests 10000

speed        32 clients that stream, six questions each, beside the bare engine that has as many prompts at a time: they
             take turns, and the median of the rounds counts. The server writes its ledger, as always. The same with a
             model of random weights, ten times as large, beside which serving weighs less. Then how fast the engine is
             beside a process that only keeps another core busy: what serving costs cannot be told from that
large        the same with the layers of DeepSeek-R1-Distill-Qwen-1.5B in bf16, one question each: 8 GiB, some minutes
canaries     64 streams at once: none fails, each has the very text that it has alone, and nobody else's number
disconnects  1,000 clients that hang up at random moments: no block of the cache and no place stays taken;
             how long after a hang-up during a long prompt the slot is free
memory       10,000 requests: how much the server's resident memory grows in every 1,000

The clients are raw sockets in this process, and share the machine's cores with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from denken.assistant import BUNDLED, Assistant, load
from denken.chat.message import Message
from denken.chat.template import render
from denken.model.checkpoint import save
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.serve.app import create_app
from denken.serve.listen import listen
from denken.serve.server import server as server_of
from denken.types import SamplingParams

GREEDY = {"temperature": 0, "stream": True}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens. pid: its process, beside which its engine has one."""

    port: int
    pid: int

    @property
    def resident_bytes(self) -> int:
        pages = sum(int((process / "statm").read_text(encoding="ascii").split()[1]) for process in self._processes)
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def processor_seconds(self) -> float:
        every = [
            (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split() for process in self._processes
        ]
        return sum(int(fields[11]) + int(fields[12]) for fields in every) / os.sysconf("SC_CLK_TCK")

    @property
    def _processes(self) -> list[Path]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return [Path(f"/proc/{pid}") for pid in (self.pid, *children)]


@contextmanager
def serving(threads: int, model: str = "bundled") -> Iterator[Place]:
    """`denken serve` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "denken", "serve", "--model", model, "--port", "0", "--log", "json"]
        command += ["--threads", str(threads)]
        environment = os.environ | {"DENKEN_STORE": f"{folder}/denken.db", "OMP_NUM_THREADS": str(threads)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                yield Place(int(line.split("http://127.0.0.1:")[1].split()[0]), process.pid)
            finally:
                process.terminate()


@contextmanager
def serving_here(assistant: Assistant) -> Iterator[tuple[int, Any]]:
    """A server in a thread of this process, so that its engine can be looked into; the port and its places."""
    with closing(listen("127.0.0.1", 0)) as listener:
        application = create_app(assistant)
        running = server_of(application, application.state.places, grace=0)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield listener.getsockname()[1], application.state.places
        running.should_exit = running.force_exit = True
        thread.join(10)


def request(port: int, question: str, **fields: object) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": question}], **fields}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, question: str, **fields: object) -> bytes:
    """The whole response, unparsed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(port, question, **fields))
    try:
        return await reader.read(-1)
    finally:
        writer.close()


def said(response: bytes) -> tuple[str, int]:
    """Thought and answer of a streamed response, and how many tokens they took."""
    text, tokens = "", 0
    assert response.startswith(b"HTTP/1.1 200"), response[:500]
    assert b"data: [DONE]" in response, response[-500:]
    for line in response.split(b"\n"):
        if line.startswith(b"data: {"):
            record = json.loads(line[6:])
            assert "error" not in record, record
            for choice in record["choices"]:
                text += choice["delta"].get("reasoning_content") or choice["delta"].get("content") or ""
            tokens = (record.get("usage") or {}).get("completion_tokens", tokens)
    return text, tokens


def questions(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"What is {rng.randrange(100, 1000)} times {rng.randrange(100, 1000)}?" for _ in range(count)]


async def crowd(port: int, asked: list[str], at_once: int, **fields: object) -> list[bytes]:
    places = asyncio.Semaphore(at_once)

    async def one(question: str) -> bytes:
        async with places:
            return await ask(port, question, **fields)

    return list(await asyncio.gather(*(one(question) for question in asked)))


TEN_TIMES = {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1408}
# The layers of DeepSeek-R1-Distill-Qwen-1.5B, 1.3 billion weights: the vocabulary is the bundled model's.
DISTILLED = {
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 128,
}


def write_larger(folder: Path, sizes: dict[str, int], dtype: torch.dtype = torch.float32) -> None:
    """A model with the bundled one's tokenizer, and random weights."""
    values = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    save(Transformer(ModelConfig.from_hf(values | sizes)).to(dtype), folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(BUNDLED / name, folder)


def bare(assistant: Assistant, asked: list[str], at_once: int, max_tokens: int | None) -> int:
    """The engine alone, with `at_once` requests at any time; how many tokens it made."""
    engine, params = assistant.engine, SamplingParams(temperature=0, max_tokens=max_tokens)
    prompts = [render([Message("user", question)], assistant.tokenizer, thinking=True).ids for question in asked]
    running = tokens = 0
    while prompts or running:
        while prompts and running < at_once:
            engine.add(prompts.pop(), params)
            running += 1
        for output in engine.step():
            tokens += len(output.ids)
            running -= output.finish_reason is not None
    return tokens


def speed(model: str, clients: int, each: int, rounds: int, threads: int, max_tokens: int | None = None) -> None:
    fields = GREEDY | {"stream_options": {"include_usage": True}, "max_tokens": max_tokens}
    shares, alone, served, cost = [], [], [], []
    with load(model, threads=threads) as assistant, serving(threads, model) as place:
        size = sum(parameter.numel() for parameter in assistant.engine._model.parameters()) / 1e6
        for round_ in range(rounds + 1):
            asked = questions(each * clients, seed=round_)
            began, worked = time.perf_counter(), time.process_time()
            tokens = bare(assistant, asked, clients, max_tokens)
            took, bare_work = time.perf_counter() - began, time.process_time() - worked
            began, worked = time.perf_counter(), place.processor_seconds
            responses = asyncio.run(crowd(place.port, asked, clients, **fields))
            over_http, http_work = time.perf_counter() - began, place.processor_seconds - worked
            assert sum(said(response)[1] for response in responses) == tokens
            if round_:  # the first one warms up
                alone.append(tokens / took)
                served.append(tokens / over_http)
                shares.append(took / over_http)
                cost.append((http_work - bare_work) / tokens)
    print(
        f"speed: {size:.1f}M parameters, {clients} clients, {statistics.median(alone):,.0f} tokens/s alone, "
        f"{statistics.median(served):,.0f} served, ratio {statistics.median(shares):.2f} ({min(shares):.2f} to "
        f"{max(shares):.2f} in {rounds} rounds); {statistics.median(cost) * 1e6:.0f} us of the server's processor time "
        "a token more than alone",
        flush=True,
    )


def beside_a_busy_process(clients: int, threads: int) -> None:
    """How much slower the bare engine becomes when another process, which shares nothing with it, is busy."""
    with load("bundled", threads=threads) as assistant:

        def once(seed: int) -> float:
            began = time.perf_counter()
            return bare(assistant, questions(6 * clients, seed=seed), clients, None) / (time.perf_counter() - began)

        once(0)
        alone = statistics.median(once(seed) for seed in range(1, 4))
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            beside = statistics.median(once(seed) for seed in range(4, 7))
            busy.kill()
    print(f"speed: the bare engine beside one busy process, {beside / alone:.2f} of what it is alone", flush=True)


def canaries(streams: int, threads: int) -> None:
    asked = questions(streams, seed=7)
    with serving(threads) as place:
        alone = [said(asyncio.run(ask(place.port, question, **GREEDY)))[0] for question in asked]
        together = [said(response)[0] for response in asyncio.run(crowd(place.port, asked, streams, **GREEDY))]
    different = sum(one != other for one, other in zip(alone, together, strict=True))
    print(f"canaries: {streams} streams at once, 0 failed, {different} with another text than alone")
    if different:
        sys.exit(1)


def disconnects(count: int, threads: int) -> None:
    rng = random.Random(3)
    with load("bundled", threads=threads) as assistant, serving_here(assistant) as (port, places):
        engine = assistant.engine
        blocks = engine.free_blocks

        async def hang_up(question: str) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            data = request(port, question, temperature=0, stream=rng.random() < 0.5)
            writer.write(data if rng.random() < 0.9 else data[: rng.randrange(len(data))])
            await asyncio.sleep(rng.expovariate(8))
            writer.close() if rng.random() < 0.5 else writer.transport.abort()

        async def all_of_them() -> None:
            places_ = asyncio.Semaphore(48)

            async def one(question: str) -> None:
                async with places_:
                    await hang_up(question)

            await asyncio.gather(*(one(question) for question in questions(count, seed=5)))

        asyncio.run(all_of_them())
        until(lambda: places.taken == 0 and not engine.has_work)
        print(
            f"disconnects: {count}, {blocks - engine.free_blocks} blocks leaked, {places.taken} places taken, "
            f"{engine.running + engine.waiting} requests left"
        )
        assert engine.free_blocks == blocks
        seconds, steps = freed_after(assistant, port, places)
        print(
            f"disconnects: a slot is free {max(seconds) * 1000:.0f} ms after a hang-up at the most, "
            f"{statistics.median(seconds) * 1000:.0f} ms in the median; a step of such a prompt takes "
            f"{statistics.median(steps) * 1000:.0f} ms"
        )


def freed_after(assistant: Assistant, port: int, places: Any, count: int = 20) -> tuple[list[float], list[float]]:
    """Seconds from hanging up to the slot being free, while a long prompt is read; and those of the steps meanwhile."""
    import socket

    engine, found, steps = assistant.engine, [], []
    step = engine.step

    def timed() -> Any:
        began = time.perf_counter()
        try:
            return step()
        finally:
            steps.append(time.perf_counter() - began)

    engine.step = timed  # type: ignore[method-assign]
    for number in range(count):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            question = f"{number} What is 1 + 2? " * 130
            connection.sendall(request(port, question, temperature=0, stream=bool(number % 2)))
            until(lambda: engine.running > 0)
        began = time.perf_counter()
        until(lambda: places.taken == 0 and not engine.has_work)
        found.append(time.perf_counter() - began)
    engine.step = step  # type: ignore[method-assign]
    return found, steps


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.001)


def memory(count: int, threads: int) -> None:
    with serving(threads) as place:
        sizes = []
        # The same thousand again and again: what is new to the cache would let it grow, up to its limit, as it should.
        asked = questions(1000, seed=100)
        for thousand in range(count // 1000):
            for response in asyncio.run(crowd(place.port, asked, 16, **GREEDY | {"max_tokens": 4})):
                said(response)
            sizes.append(place.resident_bytes / 2**20)
            print(f"  {(thousand + 1) * 1000} requests: {sizes[-1]:.1f} MiB", flush=True)
    grown = [after - before for before, after in itertools.pairwise(sizes[2:])]
    if grown:
        print(
            f"memory: {count} requests, {statistics.mean(grown):+.2f} MiB in every 1,000 after the first 3,000 "
            f"({min(grown):+.2f} to {max(grown):+.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["speed", "large", "canaries", "disconnects", "memory"]
    parser.add_argument("--only", nargs="+", choices=parts, default=[part for part in parts if part != "large"])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--hang-ups", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"the bundled model, {given.threads} threads; torch {torch.__version__}, {platform.machine()}, {date.today()}"
    )
    if "speed" in given.only:
        speed("bundled", given.clients, 6, given.rounds, given.threads)
        with tempfile.TemporaryDirectory() as folder:
            write_larger(Path(folder), TEN_TIMES)
            speed(folder, given.clients, 2, given.rounds, given.threads, max_tokens=48)
        beside_a_busy_process(given.clients, given.threads)
    if "large" in given.only:
        with tempfile.TemporaryDirectory() as folder:
            write_larger(Path(folder), DISTILLED, torch.bfloat16)
            speed(folder, given.clients, 1, given.rounds, given.threads, max_tokens=24)
    if "canaries" in given.only:
        canaries(given.streams, given.threads)
    if "disconnects" in given.only:
        disconnects(given.hang_ups, given.threads)
    if "memory" in given.only:
        memory(given.requests, given.threads)


if __name__ == "__main__":
    main()
