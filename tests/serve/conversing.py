"""Talking to the page's API in tests: a desk that takes any word for a key, and a hand that asks."""

from __future__ import annotations

import json
from typing import Any

from denken.serve.desk import Caller, OpenDesk

Record = dict[str, Any]


class Named(OpenDesk):
    """A key is whatever the request says; none is nobody."""

    async def caller(self, request: Any) -> Caller:
        return Caller(request.headers.get("authorization"), "someone")


class Hand:
    """What a page would do, in one line each; `key` is whose page it is."""

    def __init__(self, client: Any, key: str | None = None):
        self.client, self.headers = client, {"authorization": key} if key else {}

    def call(self, method: str, path: str, status: int = 200, **given: Any) -> Any:
        response = self.client.request(method, path, headers=self.headers, **given)
        assert response.status_code == status, (method, path, response.status_code, response.text)
        return response.json() if response.content else None

    def new(self) -> str:
        return str(self.call("POST", "/app/conversations")["id"])

    def tree(self, conversation: str) -> Record:
        return dict(self.call("GET", f"/app/conversations/{conversation}"))

    def message(self, conversation: str, id_: str) -> Record:
        return next(one for one in self.tree(conversation)["messages"] if one["id"] == id_)

    def titles(self, **params: Any) -> list[str]:
        return [one["title"] for one in self.call("GET", "/app/conversations", params=params)["conversations"]]

    def turn(self, conversation: str, content: str | None, parent: str | None = None, **fields: Any) -> list[Record]:
        """The events of a turn that is read to its end, without the last word."""
        body = {"content": content, "parent": parent, **fields}
        response = self.client.post(f"/app/conversations/{conversation}/turns", json=body, headers=self.headers)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        found = events(response.text)
        assert found[-1] == "[DONE]"
        return [json.loads(data) for data in found[:-1]]

    def ask(self, conversation: str, content: str | None, parent: str | None = None, **fields: Any) -> Record:
        """The reply's message."""
        last = self.turn(conversation, content, parent, **fields)[-1]
        assert last["type"] == "end", last
        return dict(last["reply"])


def events(text: str) -> list[str]:
    """The data of each event."""
    lines = (line for block in text.split("\n\n") for line in block.split("\n"))
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
