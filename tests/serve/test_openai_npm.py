"""OpenAI's own client for Node against a real server with the model in the box; skipped where Node is not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the client is installed: in the user's cache, once for every version of it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node and npm are not installed; with them, the npm client is tested too.")
    wanted = (HERE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "denken" / f"npm-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as making:
        (Path(making) / "package.json").write_bytes(wanted)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            subprocess.run(install, cwd=making, check=True, capture_output=True, timeout=120)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"The npm client could not be installed: {error}")
        # Another process may have been quicker.
        with suppress(OSError):
            Path(making).rename(folder)
            Path(making).mkdir()
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path, bundled_server: int) -> dict[str, Any]:
    """What `openai.mjs` saw."""
    script = ["node", str(HERE / "openai.mjs"), f"http://127.0.0.1:{bundled_server}/v1"]
    run = subprocess.run(script, cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_whole_and_streamed_say_the_same(seen):
    assert seen["whole"]["content"] == "391"
    assert "17*23" in seen["whole"]["reasoning_content"]
    whole = seen["whole"]
    assert seen["streamed"] == {"thought": whole["reasoning_content"], "answer": whole["content"], "reasons": ["stop"]}
    assert seen["usage"]["completion_tokens_details"]["reasoning_tokens"] > 10
    assert seen["models"] == ["bundled"]


def test_tools_are_called_whole_and_streamed(seen):
    assert seen["tools"]["reason"] == "tool_calls"
    assert seen["tools"]["second"] == "chat.completion"
    for calls in (seen["tools"]["calls"], seen["gathered"]):
        assert calls
        for call in calls:
            assert call["function"]["name"] == "weather"
            assert json.loads(call["function"]["arguments"])["city"] in ("Bonn", "Paris")


def test_an_answer_follows_its_schema(seen):
    assert isinstance(seen["schema"]["result"], int)


def test_errors_and_hang_ups_are_the_clients_own(seen):
    assert seen["unknown"] == {"name": "NotFoundError", "status": 404, "param": "model", "code": "model_not_found"}
    assert seen["wrong"]["name"] == "BadRequestError"
    assert seen["wrong"]["param"] == "temperature"
    assert seen["hungUp"] is True
