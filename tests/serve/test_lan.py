"""A phone in the same network: the address, the key behind its `#`, the QR code; and TLS with one's own certificate."""

from __future__ import annotations

import io
import ipaddress
import shutil
import ssl
import subprocess
import sys
from urllib.request import urlopen

import pytest
import segno

from denken import cli
from denken.errors import ConfigError
from denken.serve import keys, lan
from denken.serve.app import create_app
from denken.serve.tls import certificate

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key, and the key with a password."""
    folder = tmp_path_factory.mktemp("tls")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True)
    locked = ["rsa", "-aes128", "-passout", "pass:secret", "-in", str(folder / "key.pem")]
    subprocess.run(["openssl", *locked, "-out", str(folder / "locked.pem")], check=True, capture_output=True)
    return folder


def test_the_phone_gets_one_key_until_that_is_revoked(sqlite_store):
    secret = lan.phone_key(sqlite_store)
    with sqlite_store.read() as connection:
        assert keys.find(connection, secret)["name"] == "phone"
    assert lan.phone_key(sqlite_store) is None
    with sqlite_store.write() as connection:
        keys.revoke(connection, "phone")
    assert lan.phone_key(sqlite_store) not in (None, secret)


def test_the_invitation_holds_the_link_in_words_and_as_a_code():
    text = lan.invitation("http://192.168.1.5:8000", "sk-denken-1", colours=False)
    link = "http://192.168.1.5:8000/#key=sk-denken-1"
    code = io.StringIO()
    segno.make(link, micro=False).terminal(code, border=2, compact=True)
    assert link in text.splitlines()[0]
    assert code.getvalue() in text
    assert "cannot be installed" in text
    assert "\x1b" not in text
    assert "\x1b[97;40m" in lan.invitation("http://192.168.1.5:8000", "sk-denken-1", colours=True)


def test_a_key_that_is_in_use_is_not_shown_again_and_over_https_nobody_is_warned():
    text = lan.invitation("https://box.example:8000", None, colours=False)
    assert "https://box.example:8000/\n" in text
    assert "#key" not in text
    assert "denken keys revoke phone" in text
    assert "http anybody" not in text


def test_the_address_is_one_of_this_machine_or_a_sentence(monkeypatch):
    try:
        found = lan.address()
    except ConfigError:
        found = None
    assert found is None or not ipaddress.ip_address(found).is_loopback
    monkeypatch.setattr(lan, "ELSEWHERE", ())
    with pytest.raises(ConfigError, match="in no network"):
        lan.address()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lan", "--host", "0.0.0.0"], "leave --host"),
        (["--lan", "--without-keys"], "--without-keys"),
        (["--certificate", "no.pem"], "--certificate-key"),
        (["--certificate", "no.pem", "--certificate-key", "no.key"], "no.pem"),
    ],
)
def test_options_that_contradict_each_other_are_a_sentence(options, words, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["denken", "serve", "--port", "0", "--store", str(tmp_path / "s.db"), *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@needs_openssl
def test_a_certificate_is_checked_before_anything_else(pair, tmp_path):
    assert certificate(None, None) is None
    other = tmp_path / "other.pem"
    other.write_text("nothing")
    for file, key, words in (
        (pair / "cert.pem", other, "are no certificate and its key"),
        (other, pair / "key.pem", "are no certificate and its key"),
        (pair / "cert.pem", pair / "locked.pem", "encrypted"),
        (pair / "cert.pem", None, "belong together"),
    ):
        with pytest.raises(ConfigError, match=words):
            certificate(file, key)


@needs_openssl
def test_the_server_speaks_tls(speaker, run_server, pair):
    with run_server(create_app(speaker), certificate=certificate(pair / "cert.pem", pair / "key.pem")) as (port, _):
        trusting = ssl.create_default_context(cafile=pair / "cert.pem")
        with urlopen(f"https://127.0.0.1:{port}/health", context=trusting, timeout=10) as response:
            assert response.status == 200
            assert "default-src 'none'" in response.headers["content-security-policy"]
        with pytest.raises(OSError, match=r"reset|closed|Remote end|EOF|disconnected|HTTP"):
            urlopen(f"http://127.0.0.1:{port}/health", timeout=10)
