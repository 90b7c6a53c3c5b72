"""What leaves: a model's folder, read and checked as a whole before anything of it is written elsewhere.

Weights stay unread (`Weights` reads them tensor by tensor); how they are written is for `hf.py`, `gguf.py`, `onnx.py`.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from denken.chat import template
from denken.errors import CheckpointError, ConfigError, quoted
from denken.model import tensorfile
from denken.model.checkpoint import Weights
from denken.model.config import ModelConfig
from denken.tokenizer import Tokenizer

# What our own template writes whatever is said; a vocabulary without these was made for another one.
_NEEDED = (template.BOS, template.EOS, template.USER, template.ASSISTANT, template.THINK, template.END_THINK)
_LONGEST_TEXT = 1 << 20


@dataclass(frozen=True)
class Source:
    """A folder in the Hugging Face layout.

    tokens: tokenizer.json. settings: tokenizer_config.json. generation: generation_config.json. Absent files are {}.
    template: how a conversation is rendered, in Jinja; the folder's own, else ours where its vocabulary is made for
        it, else None.
    eos_ids: what ends an answer, the usual one first. bos_id, pad_id: None where there is no such token.
    licence: what the model card says.
    """

    folder: Path
    weights: Weights
    tokenizer: Tokenizer
    tokens: Mapping[str, Any]
    settings: Mapping[str, Any]
    generation: Mapping[str, Any]
    template: str | None
    eos_ids: tuple[int, ...]
    bos_id: int | None
    pad_id: int | None
    licence: str | None

    @property
    def config(self) -> ModelConfig:
        return self.weights.config

    @property
    def name(self) -> str:
        """The folder's name, or its run's where training put it into a folder `model`."""
        folder = self.folder.resolve()
        return folder.parent.name if folder.name == "model" else folder.name

    @classmethod
    def open(cls, folder: Path) -> Source:
        """Raises CheckpointError or ConfigError where the folder does not hold one whole model."""
        folder = Path(folder)
        weights = Weights.open(folder)
        tokenizer = Tokenizer.load(folder)
        if tokenizer.vocab_size > weights.config.vocab_size:
            raise CheckpointError(
                f"The tokenizer in {folder} has {tokenizer.vocab_size} ids and the model {weights.config.vocab_size}; "
                "take both from the same place."
            )
        settings, generation = (_optional(folder / f"{name}_config.json") for name in ("tokenizer", "generation"))
        ids = _special_ids(weights.config, settings, generation, tokenizer)
        return cls(
            folder,
            weights,
            tokenizer,
            tensorfile.read_json(folder / "tokenizer.json"),
            settings,
            generation,
            _template(folder, settings, tokenizer),
            *ids,
            licence(folder),
        )


def licence(folder: Path) -> str | None:
    """The licence that the front matter of a folder's model card names."""
    card = _text(folder / "README.md")
    front = re.match(r"---\r?\n(.*?)\r?\n---", card or "", re.DOTALL)
    found = re.search(r"^license:\s*[\"']?([\w.+-]{1,64})", front[1], re.MULTILINE) if front else None
    return found[1] if found else None


def house_template() -> str:
    """DeepSeek-R1's conversation as `chat/template.py` renders it, in Jinja for other programs."""
    return files("denken.export").joinpath("chat_template.jinja").read_text("utf-8")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A place to write a file or folder that becomes `out` once it is whole; what fails leaves nothing behind."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} is there already; name another place, or take it away first.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out.parent} cannot be made ({error.strerror}); name another place.") from error
    unfinished = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
    try:
        yield unfinished
        if out.is_dir():
            out.rmdir()
        unfinished.rename(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror}); make room or name another place.") from error
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


def _optional(file: Path) -> dict[str, Any]:
    return tensorfile.read_json(file) if file.is_file() else {}


def _text(file: Path) -> str | None:
    """A short text; None where there is none."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        raw = opened.read(_LONGEST_TEXT + 1)
    if len(raw) > _LONGEST_TEXT:
        raise CheckpointError(f"{file} is longer than {_LONGEST_TEXT} bytes; fetch it again or take it away.")
    return raw.decode("utf-8", "replace")


def _template(folder: Path, settings: Mapping[str, Any], tokenizer: Tokenizer) -> str | None:
    own = _text(folder / "chat_template.jinja") or settings.get("chat_template")
    if isinstance(own, list):  # several by name, as Hugging Face once wrote them
        named = {found.get("name"): found.get("template") for found in own if isinstance(found, dict)}
        own = named.get("default")
    if isinstance(own, str) and own:
        return own
    return house_template() if all(tokenizer.has_control(name) for name in _NEEDED) else None


def _special_ids(
    config: ModelConfig, settings: Mapping[str, Any], generation: Mapping[str, Any], tokenizer: Tokenizer
) -> tuple[tuple[int, ...], int | None, int | None]:
    """Ids that end an answer, the one that begins every text, the one that pads."""
    ends = [*_ids(generation, "eos_token_id"), *_named(settings, "eos_token", tokenizer)]
    if tokenizer.has_control(template.EOS):
        ends.append(tokenizer.control(template.EOS))
    ends += _listed(config.eos_token_id)
    begins = [
        *_named(settings, "bos_token", tokenizer),
        *_ids(generation, "bos_token_id"),
        *_listed(config.bos_token_id),
        *([tokenizer.control(template.BOS)] if tokenizer.has_control(template.BOS) else []),
    ]
    pads = [*_named(settings, "pad_token", tokenizer), *_ids(generation, "pad_token_id"), *_listed(config.pad_token_id)]
    wrong = [id_ for id_ in (*ends, *begins, *pads) if not 0 <= id_ < config.vocab_size]
    if wrong:
        raise CheckpointError(
            f"{tokenizer.folder} names the token {wrong[0]}, and the model has {config.vocab_size}; "
            "mend generation_config.json or config.json."
        )
    if not ends:
        raise CheckpointError(
            f"Nothing says which token ends an answer in {tokenizer.folder}; "
            "add eos_token_id to its generation_config.json."
        )
    return tuple(dict.fromkeys(ends)), next(iter(begins), None), next(iter(pads), None)


def _named(settings: Mapping[str, Any], role: str, tokenizer: Tokenizer) -> list[int]:
    token = settings.get(role)
    name = token.get("content") if isinstance(token, dict) else token
    return [tokenizer.control(name)] if isinstance(name, str) and tokenizer.has_control(name) else []


def _ids(generation: Mapping[str, Any], name: str) -> list[int]:
    given = generation.get(name)
    found = given if isinstance(given, list) else [] if given is None else [given]
    if not all(type(id_) is int for id_ in found):
        raise CheckpointError(f"generation_config.json: {name} is {quoted(given)}; give an id or a list of ids.")
    return found


def _listed(ids: int | tuple[int, ...] | None) -> list[int]:
    return list(ids) if isinstance(ids, tuple) else [] if ids is None else [ids]
