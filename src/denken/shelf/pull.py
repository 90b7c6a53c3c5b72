"""A model from the Hugging Face Hub: safetensors, JSON and text, checked and nothing else.

What the Hub says of a repository (files, sizes, hashes), who may read it and how to ask is `huggingface_hub`'s
business. The bytes are fetched here, because that library begins a file anew when a download was cut: here a file goes
on where it stopped, also after days and in another process, as long as it is still the same file.

What is fetched lies in a folder with a dot before its name until it is whole: every file of its size and hash (SHA-256
where the Hub has one, else git's SHA-1), the tensors those that config.json describes, the tokenizer one that can be
read. Configuration and tokenizer come first, so that a model that cannot be used is refused before its weights come.

Pickled weights, programs and folders inside a repository are left where they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]
from rich.progress import Progress

from denken.errors import CheckpointError, ConfigError
from denken.model import checkpoint, tensorfile
from denken.model.checkpoint import INDEX, SINGLE, Weights
from denken.shelf.shelf import NAME, PULLED, Shelf, shown
from denken.tokenizer import Tokenizer

TEXTS = re.compile(r"[\w.-]{1,200}\.(json|txt|md|jinja)|LICENSE|NOTICE", re.ASCII)
LONGEST_TEXT = 256 << 20  # bytes; a large vocabulary takes 20 MB
CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte
SPARE = 100_000_000  # bytes to leave free on the disk


@dataclass(frozen=True)
class Remote:
    """A file at the Hub. sha256: of large files; sha1: git's, of the others."""

    name: str
    size: int
    sha256: str | None
    sha1: str | None


@dataclass(frozen=True)
class Repository:
    """A model at the Hub, at one commit: what is there is what was looked at."""

    name: str
    revision: str
    files: Mapping[str, Remote]
    endpoint: str | None

    @classmethod
    def look(cls, asked: str, endpoint: str | None = None) -> Repository:
        """asked: `hf:ORG/NAME`, with `@REVISION` behind it or not."""
        name, _, revision = asked.removeprefix("hf:").partition("@")
        if not asked.startswith("hf:") or not NAME.fullmatch(name) or not re.fullmatch(r"[\w./-]{0,100}", revision):
            raise ConfigError(f"{asked!r} is no model at the Hub; write hf:ORG/NAME, such as hf:Qwen/Qwen3-0.6B.")
        with _sentences(name, revision):
            info = HfApi(endpoint=endpoint).model_info(name, revision=revision or None, files_metadata=True)
        files = {}
        for entry in info.siblings or []:
            large = entry.lfs.sha256 if entry.lfs else None
            files[entry.rfilename] = Remote(entry.rfilename, entry.size or 0, large, entry.blob_id)
        return cls(name, str(info.sha), files, endpoint)

    def texts(self) -> list[Remote]:
        """Everything beside the weights; CheckpointError where something of it cannot be a text."""
        found = [file for name, file in self.files.items() if TEXTS.fullmatch(name)]
        for file in found:
            if file.size > LONGEST_TEXT:
                raise CheckpointError(f"{file.name} of {self.name} has {shown(file.size)}; that is no text of a model.")
        if "config.json" not in self.files or "tokenizer.json" not in self.files:
            raise CheckpointError(
                f"{self.name} has no config.json and tokenizer.json, so it is no model in Hugging Face's layout; "
                "look for one that transformers loads."
            )
        return found

    def weights(self, folder: Path) -> list[Remote]:
        """The files of weights: the single one, or those that the index (fetched already) names."""
        if SINGLE in self.files:
            return [self.files[SINGLE]]
        if INDEX not in self.files:
            raise CheckpointError(
                f"{self.name} has no safetensors files. Pickled weights can run code and are never fetched; "
                "look for a repository with model.safetensors."
            )
        found = tensorfile.read_json(folder / INDEX).get("weight_map")
        names = sorted({str(name) for name in found.values()}) if isinstance(found, dict) else []
        absent = [name for name in names if name not in self.files or not re.fullmatch(r"[\w.-]+\.safetensors", name)]
        if absent or not names:
            raise CheckpointError(f"{INDEX} of {self.name} names {(absent or ['no file'])[0]!r}, which is not there.")
        return [self.files[name] for name in names]


def pull(asked: str, shelf: Shelf, *, progress: Progress | None = None, endpoint: str | None = None) -> Path:
    """Fetches a model to the shelf, or what is missing of it, and returns its folder.

    asked: `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`.
    Raises ConfigError where it cannot be had, CheckpointError where it cannot be used; both say what to do.
    """
    repository = Repository.look(asked, endpoint)
    folder = shelf.folder(repository.name)
    if (folder / PULLED).is_file() and tensorfile.read_json(folder / PULLED).get("revision") == repository.revision:
        return folder
    part = folder.with_name(f".{folder.name}.part")
    with _alone(part, repository.name):
        texts = repository.texts()
        _fetch_all(repository, texts, part, progress)
        checkpoint.read_config(part)
        Tokenizer.load(part)
        weights = repository.weights(part)
        _fetch_all(repository, weights, part, progress)
        _keep_only(part, [file.name for file in (*texts, *weights)])
        Weights.open(part)
        _sign(part, repository, [*texts, *weights])
        _replace(part, folder)
    return folder


def _fetch_all(repository: Repository, files: list[Remote], part: Path, progress: Progress | None) -> None:
    missing = [file for file in files if not _is_whole(part / file.name, file)]
    needed = sum(file.size - _begun(part / file.name, file) for file in missing)
    free = shutil.disk_usage(part).free
    if needed + SPARE > free:
        raise ConfigError(
            f"{repository.name} needs {shown(needed)} more, and the disk with {part.parent} has {shown(free)} left; "
            "make room, or name another place by DENKEN_MODELS."
        )
    for file in missing:
        _fetch(repository, file, part / file.name, progress)


def _fetch(repository: Repository, file: Remote, place: Path, progress: Progress | None) -> None:
    """One file, from where an earlier try stopped; its hash decides whether it is the file."""
    unfinished = _unfinished(place, file)
    begun = _begun(place, file)
    task = progress.add_task(file.name, total=file.size, completed=begun) if progress else None
    url = hf_hub_url(repository.name, file.name, revision=repository.revision, endpoint=repository.endpoint)
    if begun < file.size or not unfinished.exists():
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if begun:
            headers["Range"] = f"bytes={begun}-"
        with (
            _sentences(repository.name, repository.revision),
            get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer,
        ):
            hf_raise_for_status(answer)
            goes_on = answer.status_code == 206
            with unfinished.open("ab" if goes_on else "wb") as out:
                size = out.tell()
                for chunk in answer.iter_bytes():
                    out.write(chunk)
                    size += len(chunk)
                    if progress and task is not None:
                        progress.update(task, completed=size)
                    if size > file.size:
                        break
    if not _is_whole(unfinished, file):
        if unfinished.stat().st_size < file.size:
            raise ConfigError(f"{file.name} was cut short; the same command goes on where it stopped.")
        unfinished.unlink()
        raise CheckpointError(
            f"{file.name} arrived damaged: its hash is not the Hub's. It was thrown away; the same command fetches it "
            "again."
        )
    unfinished.rename(place)


def _unfinished(place: Path, file: Remote) -> Path:
    """Where a file grows, by its hash: what was begun of another version is not gone on with."""
    return place.with_name(f".{(file.sha256 or file.sha1 or '')[:16]}.{place.name}")


def _begun(place: Path, file: Remote) -> int:
    unfinished = _unfinished(place, file)
    return unfinished.stat().st_size if unfinished.is_file() and unfinished.stat().st_size <= file.size else 0


def _is_whole(place: Path, file: Remote) -> bool:
    if not place.is_file() or place.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with place.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == (file.sha256 or file.sha1)


@contextmanager
def _alone(part: Path, name: str) -> Iterator[None]:
    """The folder of what is unfinished, for one process at a time."""
    try:
        part.mkdir(parents=True, exist_ok=True)
        lock = (part / ".lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"{part} cannot be written ({error.strerror}); name another place by DENKEN_MODELS."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"Another process is fetching {name} just now; wait for it.") from None
        yield


def _keep_only(part: Path, names: list[str]) -> None:
    """Takes away what an earlier try, of another revision, has left."""
    for path in part.iterdir():
        if path.name not in (*names, ".lock"):
            path.unlink()


def _sign(part: Path, repository: Repository, files: list[Remote]) -> None:
    came: dict[str, Any] = {
        "from": f"hf:{repository.name}",
        "revision": repository.revision,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {file.name: file.sha256 or f"git:{file.sha1}" for file in files},
    }
    (part / PULLED).write_text(json.dumps(came, indent=2) + "\n", encoding="utf-8")
    (part / ".lock").unlink()


def _replace(part: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    if old.exists():
        shutil.rmtree(old)


@contextmanager
def _sentences(name: str, revision: str) -> Iterator[None]:
    """Turns what goes wrong between here and the Hub into what a person can do about it."""
    try:
        yield
    except GatedRepoError as error:
        raise ConfigError(
            f"{name} is given only to those who accept its terms: do that at https://huggingface.co/{name}, then log "
            "in with `hf auth login` (or set HF_TOKEN) and run the same command again."
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{name} has no revision {revision!r}; leave it out for the newest.") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"There is no model {name} at the Hub, or it is private; check the name, or log in with `hf auth login`."
        ) from error
    except OfflineModeIsEnabled as error:
        raise ConfigError(
            "HF_HUB_OFFLINE is set, so nothing is fetched; unset it, or give the folder of a model that is here."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ConfigError(
            f"The Hub answered {status} for {name}; wait a while, and the same command goes on where it stopped."
        ) from error
    except (CheckpointError, ConfigError):
        raise
    except Exception as error:  # the errors of its HTTP library, which is another one from version to version
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise
        raise ConfigError(
            f"The Hub cannot be reached ({error}). The same command goes on where it stopped; without a network, give "
            "the folder of a model that is here."
        ) from error
