"""Conversations as other programs write them down: ChatGPT's and DeepSeek's exports, and our own.

ChatGPT and DeepSeek both write a `mapping` of nodes, each with its parent. In ChatGPT's a node is a message with
`content.parts`, and one answer may be several nodes in a row (a thought, a search, the text); in DeepSeek's a message
is made of `fragments`: REQUEST, THINK, SEARCH, RESPONSE. Everything in such a file may be missing or of another kind;
what cannot be read is left out. Pure: values in, values out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from denken.serve.chats.exports import FORMAT
from denken.serve.chats.schemas import MOST_CONTENT, MOST_TITLE, storable

Json = Mapping[str, Any]
MOST_MESSAGES = 10_000
MOST_SOURCES = 200
MOST_MS = 10**14


class NotReadable(Exception):
    """This is no conversation; the text says why."""


@dataclass(slots=True)
class Carried:
    """A message that comes from elsewhere. id, parent: as they are there. created: milliseconds since 1970, or 0."""

    id: str
    parent: str | None
    role: str
    content: str = ""
    thought: str = ""
    created: int = 0
    model: str = ""
    state: str = "done"
    sources: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        return bool(self.content.strip() or self.thought.strip())


@dataclass(frozen=True, slots=True)
class Foreign:
    """A conversation from elsewhere. source: the same whenever the same conversation is read."""

    source: str
    title: str
    created: int
    updated: int
    messages: list[Carried]
    head: str | None
    pinned: bool = False


def read(given: Any) -> Foreign:
    """Raises NotReadable."""
    if not isinstance(given, dict):
        raise NotReadable("it is no JSON object")
    if given.get("format") == FORMAT:
        return _ours(given)
    mapping = given.get("mapping")
    if not isinstance(mapping, dict):
        raise NotReadable("it has no messages in a form of ChatGPT's, DeepSeek's or ours")
    if len(mapping) > MOST_MESSAGES:
        raise NotReadable(f"it has more than {MOST_MESSAGES} messages")
    deepseek = "inserted_at" in given or any(_has_fragments(node) for node in mapping.values())
    reader = _of_deepseek if deepseek else _of_chatgpt
    parents, found = {}, {}
    for id_, node in mapping.items():
        if isinstance(node, dict):
            parents[id_] = _id(node.get("parent"))
            message = node.get("message")
            carried = reader(id_, message) if isinstance(message, dict) else None
            if carried is not None and carried.says_something:
                found[id_] = carried
    for id_, message in found.items():
        message.parent = _kept(parents[id_], parents, found)
    messages = _joined(_ordered(found))
    if not messages:
        raise NotReadable("there is nothing said in it")
    names = {message.id for message in messages}
    head = _kept(_id(given.get("current_node")), parents, found)
    head = head if head in names else messages[-1].id
    kind = "deepseek" if deepseek else "chatgpt"
    created = _moment(given.get("create_time", given.get("inserted_at"))) or messages[0].created
    updated = _moment(given.get("update_time", given.get("updated_at"))) or created
    id_ = _id(given.get("conversation_id")) or _id(given.get("id")) or _digest(messages)
    return Foreign(f"{kind}:{id_}", _title(given.get("title")), created, updated, messages, head)


def _has_fragments(node: Any) -> bool:
    message = node.get("message") if isinstance(node, dict) else None
    return isinstance(message, dict) and "fragments" in message


def _of_chatgpt(id_: str, message: Json) -> Carried | None:
    """One node; None for what people do not see: the system's words, and the talk with tools."""
    author, content = _object(message.get("author")), _object(message.get("content"))
    about = _object(message.get("metadata"))
    role, to = author.get("role"), message.get("recipient")
    if (
        role not in ("user", "assistant")
        or to not in (None, "all")
        or about.get("is_visually_hidden_from_conversation")
    ):
        return None
    carried = Carried(id_, None, role, created=_moment(message.get("create_time")))
    carried.model = _line(about.get("model_slug")) if role == "assistant" else ""
    kind = content.get("content_type")
    if kind == "thoughts":
        thoughts = [_object(one) for one in _list(content.get("thoughts"))]
        carried.thought = _text("\n\n".join(_string(one.get("content")) for one in thoughts))
    elif kind in (None, "text", "multimodal_text"):
        carried.content = _text("\n\n".join(filter(None, map(_part, _list(content.get("parts"))))))
    elif kind == "code" and role == "assistant":
        carried.content = f"```\n{_text(content.get('text'))}\n```"
    return carried


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = _object(part).get("content_type")
    if kind == "audio_transcription":
        return _string(part.get("text"))
    return f"[{kind.partition('_')[0]}]" if isinstance(kind, str) and kind else ""


def _of_deepseek(id_: str, message: Json) -> Carried | None:
    """One node. Older exports have no fragments but `content` and `reasoning_content`."""
    carried = Carried(id_, None, "assistant", created=_moment(message.get("inserted_at")))
    carried.model = _line(message.get("model"))
    if isinstance(message.get("fragments"), list):
        fragments = [_object(one) for one in message["fragments"]]
        said = {kind: _told(fragments, kind) for kind in ("REQUEST", "THINK", "RESPONSE")}
        carried.thought, carried.content = said["THINK"], said["RESPONSE"] or said["REQUEST"]
        if any(fragment.get("type") == "REQUEST" for fragment in fragments):
            carried.role, carried.model = "user", ""
        results = [one for fragment in fragments for one in _list(fragment.get("results"))]
    else:
        role = str(message.get("role") or _object(message.get("author")).get("role") or "").lower()
        if role not in ("user", "assistant"):
            return None
        carried.role = role
        carried.content, carried.thought = _text(message.get("content")), _text(message.get("reasoning_content"))
        results = _list(message.get("search_results"))
    if carried.role == "assistant":
        carried.sources = _sources(results)
    return carried


def _told(fragments: Iterable[Json], kind: str) -> str:
    return _text("\n\n".join(_string(one.get("content")) for one in fragments if one.get("type") == kind))


def _sources(results: Iterable[Any]) -> list[dict[str, Any]]:
    """What was found, under the numbers that the answer cites them by."""
    found: dict[int, dict[str, Any]] = {}
    for place, result in enumerate(results, 1):
        one = _object(result)
        number = _whole(one.get("cite_index", one.get("number")), 10**6) or place
        url, title = _line(one.get("url"))[:2000], _line(one.get("title"))
        if (url.startswith(("http://", "https://", "library:")) or title) and len(found) < MOST_SOURCES:
            excerpt = _text(one.get("snippet", one.get("excerpt")))[:5000]
            published = _line(one.get("published"))[:40]
            found.setdefault(
                number,
                {"number": number, "title": title or url, "url": url, "excerpt": excerpt, "published": published},
            )
    return list(found.values())


def _ours(given: Json) -> Foreign:
    """What `exports.py` writes."""
    told = _list(given.get("messages"))
    if len(told) > MOST_MESSAGES:
        raise NotReadable(f"it has more than {MOST_MESSAGES} messages")
    found: dict[str, Carried] = {}
    for one in map(_object, told):
        id_ = _id(one.get("id"))
        if id_ is None or one.get("role") not in ("user", "assistant"):
            continue
        carried = Carried(
            id_, _id(one.get("parent")), one["role"], _text(one.get("content")), _text(one.get("thought"))
        )
        carried.created, carried.model = _moment_ms(one.get("created")), _line(one.get("model"))
        if one.get("state") in ("stopped", "failed", "cut"):
            carried.state = one["state"]
        carried.sources, carried.steps = _sources(_list(one.get("sources"))), _steps(one.get("steps"))
        files = map(_object, _list(one.get("attachments"))[:16])
        carried.files = [(_line(file.get("name")) or "file", _text(file.get("text"))) for file in files]
        carried.figures = _figures(one)
        found[id_] = carried
    for carried in found.values():
        carried.parent = carried.parent if carried.parent in found else None
    messages = _ordered(found)
    head, created = _id(given.get("head")), _moment_ms(given.get("created"))
    return Foreign(
        f"denken:{_id(given.get('id')) or _digest(messages)}",
        _title(given.get("title")),
        created,
        _moment_ms(given.get("updated")) or created,
        messages,
        head if head in found else messages[-1].id if messages else None,
        given.get("pinned") is True,
    )


def _steps(given: Any) -> list[dict[str, Any]]:
    steps = []
    for one in map(_object, _list(given)[:100]):
        numbers = [number for given in _list(one.get("sources")) if (number := _whole(given, 10**6))]
        steps.append(
            {
                "query": _line(one.get("query"))[:1000],
                "at": _whole(one.get("at"), MOST_CONTENT) or 0,
                "seconds": _seconds(one.get("seconds")),
                "problem": _line(one.get("problem"))[:1000],
                "sources": numbers[:MOST_SOURCES],
            }
        )
    return steps


def _figures(one: Json) -> dict[str, Any]:
    usage = _object(one.get("usage"))
    names = ("prompt_tokens", "cached_tokens", "thought_tokens", "answer_tokens")
    counts = {name: _whole(usage.get(name), 10**9) for name in names}
    return {
        "usage": None if None in counts.values() else counts,
        "thought_seconds": _seconds(one.get("thought_seconds")),
        "seconds": _seconds(one.get("seconds")),
        "thinking": one.get("thinking") is True,
        "search": [place for place in ("web", "library") if place in _list(one.get("search"))],
    }


def _kept(id_: str | None, parents: Mapping[str, str | None], found: Mapping[str, Carried]) -> str | None:
    """The nearest message at or above a node; None where there is none, or where the nodes go round in a circle."""
    for _ in range(len(parents) + 1):
        if id_ is None or id_ in found:
            return id_
        id_ = parents.get(id_)
    return None


def _ordered(found: Mapping[str, Carried]) -> list[Carried]:
    """Parents before children, siblings in the order of the file. What goes round in a circle is dropped."""
    children: dict[str | None, list[Carried]] = {}
    for carried in found.values():
        children.setdefault(carried.parent, []).append(carried)
    ordered, waiting = [], list(reversed(children.get(None, [])))
    while waiting:
        ordered.append(waiting.pop())
        waiting += reversed(children.get(ordered[-1].id, []))
    return ordered


def _joined(ordered: list[Carried]) -> list[Carried]:
    """An answer that came in several messages is one."""
    count: dict[str | None, int] = {}
    for carried in ordered:
        count[carried.parent] = count.get(carried.parent, 0) + 1
    kept: dict[str, Carried] = {}
    now: dict[str | None, str | None] = {None: None}
    for carried in ordered:
        above = kept.get(now[carried.parent] or "")
        if carried.role == "assistant" and above and above.role == "assistant" and count[carried.parent] == 1:
            above.content = f"{above.content}\n\n{carried.content}".strip()
            above.thought = f"{above.thought}\n\n{carried.thought}".strip()
            above.sources = above.sources or carried.sources
            above.model = carried.model or above.model
            now[carried.id] = above.id
        else:
            carried.parent = now[carried.parent]
            kept[carried.id] = carried
            now[carried.id] = carried.id
    return list(kept.values())


def _digest(messages: Iterable[Carried]) -> str:
    said = json.dumps([(message.role, message.content, message.created) for message in messages])
    return hashlib.sha256(said.encode()).hexdigest()


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _text(value: Any) -> str:
    return storable(_string(value)[:MOST_CONTENT]).strip()


def _line(value: Any) -> str:
    return " ".join(_text(_string(value)[:4000]).split())


def _title(value: Any) -> str:
    return _line(value)[:MOST_TITLE]


def _id(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) and 0 < len(value) <= 200 else None


def _whole(value: Any, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 10**7 else 0.0


def _moment(value: Any) -> int:
    """Milliseconds since 1970 of seconds (ChatGPT) or of a date as text (DeepSeek); 0 where it is neither."""
    if isinstance(value, int | float) and 0 <= value < MOST_MS / 1000:
        return int(value * 1000)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value[:40])
            return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
        except (ValueError, OverflowError):
            return 0
    return 0


def _moment_ms(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < MOST_MS else 0
