"""Databases for tests: a PostgreSQL of one's own on a socket in a temporary folder, and a store in it or in a file."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@contextmanager
def postgresql() -> Iterator[str]:
    """Runs PostgreSQL and gives the URL of its socket; skips where it is not installed.

    It refuses to run as root, so root runs it as `postgres` or `nobody`. Its folder lies right under the system's
    temporary one: the path of a socket is short, and pytest's folders are closed to others.
    """
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    programs = BINARIES[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="denken-pg-"))
    user = _other_user() if os.geteuid() == 0 else None
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "cwd": folder, **as_user}
    data = folder / "data"
    try:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "denken", "-E", "UTF8", "-N"], **quiet)
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c shared_buffers=16MB"
        subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-t", "60", "-o", options, "start"], **quiet)
        try:
            yield f"postgresql://denken@/{{}}?host={folder}"
        finally:
            subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody.")


def new_database(server: str, name: str) -> str:
    """The URL of an empty database in it."""
    import psycopg

    with psycopg.connect(server.format("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.format(name)
