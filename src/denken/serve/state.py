"""GET /app/state: what the page needs to know before anything is asked: the models, what can be searched, prices."""

from __future__ import annotations

from fastapi import APIRouter, Request

import denken
from denken.serve.chats.chats import Chats
from denken.serve.device import Device
from denken.serve.money import NANO, O1, R1, ListPrice
from denken.serve.turn import Counter, Record

MILLION = 10**6


def add_routes(api: APIRouter, counter: Counter, chats: Chats, *, runs: bool, device: Device | None) -> None:
    async def state(request: Request) -> Record:
        caller = request.state.caller
        searcher = chats.searcher
        return {
            "version": denken.__version__,
            "keys": caller.key is not None,
            "sharing": chats.sharing,
            "runs": runs,
            "device": device is not None and device.offers,
            "search": [] if searcher is None else await chats.run(lambda: searcher.places(caller.key)),
            "web_search": None if searcher is None else searcher.web,
            "models": [
                {"id": speaker.name, "context": speaker.context, "about": speaker.about.model_dump()}
                for speaker in counter.speakers.values()
            ],
            "prices": {"o1": _prices(O1), "r1": _prices(R1)},
        }

    api.add_api_route("/app/state", state, methods=["GET"])


def _prices(price: ListPrice) -> dict[str, float]:
    """US dollars for a million tokens."""
    return {
        "prompt": price.prompt * MILLION / NANO,
        "cached": price.cached * MILLION / NANO,
        "completion": price.completion * MILLION / NANO,
    }
