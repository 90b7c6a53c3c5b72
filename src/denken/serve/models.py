"""What there is to ask and what may be spent: the models, DeepSeek's balance, and a plain no to embeddings."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from fastapi import APIRouter, Request

from denken.serve.failure import Failure
from denken.serve.speaker import Speaker
from denken.serve.turn import Counter, Record


def add_routes(api: APIRouter, counter: Counter) -> None:
    async def models() -> Record:
        return {"object": "list", "data": [record(speaker) for speaker in counter.speakers.values()]}

    async def model(name: str) -> Record:
        return record(counter.speaker(name))

    async def balance(request: Request) -> Record:
        """In dollars. Where nothing limits a caller they may go on, whatever the amount says."""
        left = (await counter.desk.balance(request.state.caller)).left
        amount = str((Decimal(left or 0) / 10**9).quantize(Decimal("0.01"), ROUND_DOWN))
        amounts = {"total_balance": amount, "granted_balance": "0.00", "topped_up_balance": amount}
        return {"is_available": left is None or left > 0, "balance_infos": [{"currency": "USD", **amounts}]}

    async def embeddings() -> Record:
        raise Failure(
            400,
            "No model here makes embeddings; they answer /v1/chat/completions and its like.",
            param="model",
            code="unsupported",
        )

    for prefix in ("/v1", ""):
        api.add_api_route(f"{prefix}/models", models, methods=["GET"])
        # Some models are called `maker/model`.
        api.add_api_route(f"{prefix}/models/{{name:path}}", model, methods=["GET"])
        api.add_api_route(f"{prefix}/embeddings", embeddings, methods=["POST"])
    api.add_api_route("/user/balance", balance, methods=["GET"])


def record(speaker: Speaker) -> Record:
    """context_length is OpenRouter's word: how many tokens fit, prompt and reply together.

    root and parent are OpenAI's of old, and vLLM's: an adapter names the model that it stands over.
    """
    about = {"id": speaker.name, "object": "model", "created": speaker.created, "owned_by": "denken"}
    whose = {"root": speaker.parent or speaker.name, "parent": speaker.parent}
    return about | whose | {"context_length": speaker.context}
