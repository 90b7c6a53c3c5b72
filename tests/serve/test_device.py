"""The file that browsers take along: made once, under its digest, whole or not at all, and not for strangers."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from starlette.testclient import TestClient

from denken.assistant import BUNDLED
from denken.errors import ConfigError
from denken.serve import device as devices
from denken.serve.app import create_app
from denken.serve.desk import Caller, OpenDesk
from denken.serve.device import Device
from denken.serve.failure import Failure
from denken.serve.guard import POLICY
from denken.tokenizer import Tokenizer

MODEL = b"GGUF and weights"
DIGEST = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """A model's folder with a real vocabulary, and next to nothing as its weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED / name, folder)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def device_of(folder, tmp_path, speaker):
    """A device whose file is made by `make`; what was made is counted in `made`."""

    def build(content=MODEL, error=None):
        def make(source, out):
            build.made.append(source)
            out.write_bytes(content)
            if error:
                raise error

        return Device(speaker, Tokenizer.load(BUNDLED), folder, tmp_path / "kept" / "device", make)

    build.made = []
    return build


@pytest.fixture
def client_of():
    def build(device, **fields):
        app = create_app(device._speaker, device=device, **fields)
        return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    return build


def test_it_says_what_a_browser_needs_to_answer_by_itself(device_of, client_of):
    told = client_of(device_of()).get("/app/device").json()
    assert told["file"] == {"url": f"/app/device/{DIGEST}.gguf", "bytes": len(MODEL), "sha256": DIGEST}
    assert (told["id"], told["context"]) == ("fake", 1000)
    assert told["sampling"] == {"temperature": 0.3, "top_p": 0.95, "top_k": 0, "min_p": 0.0}
    assert (told["controls"]["<think>"], told["controls"]["</think>"]) == (5, 6)
    assert told["about"]["thinks"] == "optional"


def test_the_file_comes_whole_and_is_kept_for_good(device_of, client_of):
    client = client_of(device_of())
    response = client.get(f"/app/device/{DIGEST}.gguf")
    assert (response.status_code, response.content) == (200, MODEL)
    assert response.headers["content-length"] == str(len(MODEL))
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert response.headers["content-security-policy"] == POLICY
    again = client.get(f"/app/device/{DIGEST}.gguf", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(f"/app/device/{'0' * 64}.gguf")
    assert (other.status_code, other.json()["error"]["code"]) == (404, "no_device_model")


def test_it_is_made_once_and_anew_where_its_sources_or_its_bytes_are_others(device_of, folder):
    first = device_of()
    assert first.made() == first.made() == device_of().made()
    assert len(device_of.made) == 1
    first.made().path.write_bytes(b"damaged")
    assert device_of().made().path.read_bytes() == MODEL
    assert len(device_of.made) == 2
    first.made().path.unlink()
    assert first.made().path.is_file()
    assert len(device_of.made) == 3
    (folder / "model.safetensors").write_bytes(b"trained on")
    device_of().made()
    assert len(device_of.made) == 4
    kept = first.made().path.parent
    assert all(path.name.endswith(f"-{DIGEST[:16]}.gguf") for path in kept.iterdir())


@pytest.mark.parametrize(
    ("content", "error"),
    [(MODEL, ConfigError("It cannot be exported.")), (MODEL, OSError("The disk is full.")), (b"0" * 300, None)],
)
def test_what_cannot_be_made_is_said_once_and_leaves_nothing(device_of, client_of, monkeypatch, content, error):
    monkeypatch.setattr(devices, "MOST_BYTES", 200)
    device = device_of(content, error)
    assert device.offers
    response = client_of(device).get("/app/device")
    assert response.status_code == 404
    assert str(error or "are the most") in response.json()["error"]["message"]
    assert not device.offers
    assert list(device._kept.iterdir()) == []
    client_of(device).get("/app/device")
    assert len(device_of.made) == 1


def test_large_models_and_other_vocabularies_are_not_offered(device_of, folder, tmp_path, speaker, monkeypatch):
    monkeypatch.setattr(devices, "MOST_SOURCE_BYTES", 6)
    assert not device_of().offers
    with pytest.raises(Failure, match="too large for a browser"):
        device_of().made()
    monkeypatch.undo()
    monkeypatch.setattr(devices, "NEEDED", ("<unheard>",))
    assert not device_of().offers
    assert device_of.made == []


def test_where_keys_are_asked_for_the_file_is_behind_them(device_of, client_of):
    class Locked(OpenDesk):
        async def caller(self, request):
            if request.headers.get("authorization") != "Bearer right":
                raise Failure(401, "Send a key.", code="invalid_api_key")
            return Caller("1", "anna")

    client = client_of(device_of(), desk=Locked())
    for path in ("/app/device", f"/app/device/{DIGEST}.gguf"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer right"}).status_code == 200


def test_a_server_without_one_says_so(client):
    response = client.get("/app/device")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "no_device_model")
