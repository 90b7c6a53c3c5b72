"""Where the server listens, and running it there: a bound socket, uvicorn around it, the address said.

The socket is bound before a model is loaded, so that a taken port is known at once.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Collection, Sequence

from denken.errors import ConfigError
from denken.search.tool import Searcher
from denken.serve import logs, website
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.desk import Desk
from denken.serve.device import Device
from denken.serve.runs import Runs
from denken.serve.speaker import Speaker
from denken.serve.tls import Certificate

# When the server is told to end, replies in the making get this long.
GRACE_SECONDS = 10.0


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises ConfigError where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{host!r} is no address of this machine ({error}); try --host 127.0.0.1.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # Without it a port stays taken for a minute after the last server; on Windows it would share the port.
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not(host, port, error)) from error
    return listener


def serve_forever(
    speakers: Sequence[Speaker],
    listener: socket.socket,
    host: str,
    allow_hosts: Collection[str],
    *,
    desk: Desk,
    chats: Chats | None = None,
    runs: Runs | None = None,
    searcher: Searcher | None = None,
    device: Device | None = None,
    grace: float = GRACE_SECONDS,
    log: logs.Form = "text",
    certificate: Certificate | None = None,
) -> None:
    """Says the address and serves until it is told to end (Ctrl-C, SIGTERM), and then what runs for `grace` seconds."""
    from denken.serve.server import server

    logs.start(log)
    application = create_app(
        speakers,
        host=host,
        allow_hosts=allow_hosts,
        desk=desk,
        chats=chats,
        runs=runs,
        searcher=searcher,
        device=device,
    )
    others = f" (and {len(speakers) - 1} more)" if len(speakers) > 1 else ""
    if not website.parts():
        print(website.NOT_BUILT, file=sys.stderr, flush=True)
    print(f"{speakers[0].name}{others} listens on {url(host, listener, certificate)}  (Ctrl-C ends it)", flush=True)
    server(application, application.state.places, grace=grace, certificate=certificate).run(sockets=[listener])


def url(host: str, listener: socket.socket, certificate: Certificate | None = None) -> str:
    """The address to open in a browser."""
    port = listener.getsockname()[1]
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    scheme = "http" if certificate is None else "https"
    return f"{scheme}://{f'[{name}]' if ':' in name and not name.startswith('[') else name}:{port}"


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        free = _free_port(host, port)
        other = f"--port {free}, which is free, or " if free else ""
        return f"Port {port} of {host} is taken, perhaps by a server that still runs; give {other}--port 0 for any."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} of {host} needs rights that you do not have; give one above 1023, such as --port 8000."
    return f"{host} port {port} cannot be listened on ({error.strerror}); try --host 127.0.0.1 --port 0."


def _free_port(host: str, taken: int) -> int | None:
    """The next port that is free, among the hundred that follow."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(taken + 1, min(taken + 101, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            try:
                attempt.bind((host.strip("[]"), port))
            except OSError:
                continue
            return port
    return None
