"""Which servers live: each holds a lock that the system takes from it when it ends, however it ends.

With SQLite that is a lock on a file beside the database, with PostgreSQL an advisory lock of a connection. So a line
that a killed server left open can be told from one that another server is answering now, without clocks or timeouts.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from denken.serve.store import Store


class Alive:
    """This server's sign of life, from when it is made until it is closed. number: what it is called in the store."""

    def __init__(self, store: Store):
        self._store = store
        self.number = secrets.randbits(63)
        self._held: Any = None
        self.renew()

    def renew(self) -> None:
        """Holds the lock again where a connection to PostgreSQL was lost meanwhile; otherwise does nothing."""
        if self._held is None or (isinstance(self._held, Connection) and not _lives(self._held)):
            self._held = _take(self._store, self.number)

    def is_dead(self, number: int) -> bool:
        """Whether the server of that number has ended."""
        if number == self.number:
            return False
        taken = _take(self._store, number)
        if taken is None:
            return False
        _give_back(taken)
        if self._store.file is not None:
            _lock_file(self._store.file, number).unlink(missing_ok=True)
        return True

    def close(self) -> None:
        _give_back(self._held)
        self._held = None
        if self._store.file is not None:
            _lock_file(self._store.file, self.number).unlink(missing_ok=True)


def _take(store: Store, number: int) -> Any:
    """What holds the lock, or None where somebody else does."""
    if store.file is not None:
        return _take_file(_lock_file(store.file, number))
    connection = store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if connection.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": number}).scalar_one():
        return connection
    connection.close()
    return None


def _give_back(held: Any) -> None:
    if isinstance(held, Connection):
        # The server notices the end of a connection a little later; a lock given back is free when this returns.
        with contextlib.suppress(DBAPIError):
            held.execute(text("SELECT pg_advisory_unlock_all()"))
        held.invalidate()  # whatever lock is left ends with the connection, so it must not go back to the pool
    if held is not None:
        held.close()


def _lives(connection: Connection) -> bool:
    try:
        connection.execute(text("SELECT 1"))
    except DBAPIError:
        return False
    return True


def _lock_file(database: Path, number: int) -> Path:
    return database.with_name(f"{database.name}-servers") / str(number)


def _take_file(path: Path) -> IO[bytes] | None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = path.open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(OSError):
            file.close()
        return None
    return file
