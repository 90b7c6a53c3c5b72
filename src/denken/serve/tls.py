"""The certificate that the server shows, where it speaks TLS itself; checked before a model is loaded.

Browsers allow a page to be installed, and to open without its server, only over https (and on this machine itself).
Not covered: getting a certificate, and renewing one while the server runs; a proxy in front does both.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from denken.errors import ConfigError


class Certificate(NamedTuple):
    """Two files in PEM: the certificate with those that it rests on, and its private key."""

    file: Path
    key: Path


def certificate(file: Path | None, key: Path | None) -> Certificate | None:
    """The two files as one, if they are given. Raises ConfigError where the server could not speak TLS with them."""
    if file is None and key is None:
        return None
    if file is None or key is None:
        raise ConfigError("A certificate and its key belong together; give both --certificate and --certificate-key.")
    for path in (file, key):
        if not path.is_file():
            raise ConfigError(f"{path} is no file; give --certificate and --certificate-key two files in PEM.")

    def password() -> str:
        raise ConfigError(f"{key} is encrypted; give a key without a password that only you can read.")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, key, password=password)
    except OSError as error:  # SSLError is one
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise ConfigError(f"{file} and {key} are no certificate and its key in PEM ({why}).") from error
    return Certificate(file, key)
