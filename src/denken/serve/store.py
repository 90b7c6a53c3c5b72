"""The database: SQLite in one file, or PostgreSQL by URL. Opened, migrated, and asked from a few threads.

What is in it is in `tables.py`, what is done with it in `keys.py`, `ledger.py` and `usage.py`. A committed line is on
the disk: SQLite runs with synchronous=FULL.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from denken.errors import ConfigError

Result = TypeVar("Result")

BUSY_SECONDS = 5.0
# Writes queue up behind one another in any case; these keep them off the event loop.
THREADS = 4
# Any number, as long as every version of denken takes the same: whoever migrates holds this lock of PostgreSQL.
MIGRATION_LOCK = 0x64656E6B656E


def default_url() -> str:
    """DENKEN_STORE, or a file in the user's data folder."""
    return os.environ.get("DENKEN_STORE") or f"sqlite:///{_data_folder() / 'denken.db'}"


def beside(url: str | None, name: str) -> Path:
    """A file that goes with the store: in its folder, or in the user's data folder where PostgreSQL keeps it."""
    file = _file(_parse(url or default_url()))
    return (_data_folder() if file is None else file.parent) / name


def _data_folder() -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # as the XDG specification has it
        data = Path.home() / ".local" / "share"
    return data / "denken"


class Store:
    """An open database of the newest revision. Close it at the end."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    @property
    def file(self) -> Path | None:
        """Where SQLite keeps it; None for PostgreSQL."""
        return _file(self.engine.url)

    @property
    def shown(self) -> str:
        """Its name, without a password."""
        return str(self.file or self.engine.url.render_as_string(hide_password=True))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by any exception."""
        # SQLite lets one writer in; who asks for that at once cannot fail half-way because somebody else was faster.
        connection = self.engine.connect().execution_options(writes=True)
        with connection, connection.begin():
            yield connection

    async def run(self, work: Callable[[], Result]) -> Result:
        """Work with the database, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        self._threads.shutdown()
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_store(url: str | None = None) -> Store:
    """The store at a URL or in a file, made or migrated where that is needed.

    Raises ConfigError where it cannot be opened or written, or where a newer denken has migrated it.
    """
    engine = _engine(_parse(url or default_url()))
    store = Store(engine)
    try:
        if store.file is not None:
            _make_private(store.file)
            _use_wal(store.file)
        migrate(store)
    except (OSError, sqlite3.Error, DBAPIError) as error:
        store.close()
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise ConfigError(
            f"The store {store.shown} cannot be opened and written ({str(reason).strip()}); "
            "name another by --store or DENKEN_STORE."
        ) from error
    except BaseException:
        store.close()
        raise
    return store


def revisions() -> list[str]:
    """Every state that a database has been in, oldest first."""
    return [script.revision for script in reversed(list(_scripts().walk_revisions()))]


def migrate(store: Store, to: str = "head") -> None:
    """Takes the database to a revision, in one transaction that no other process is in at the same time."""
    scripts = _scripts()
    with store.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context = MigrationContext.configure(
            connection, opts={"script": scripts, "fn": lambda revision, _: scripts._upgrade_revs(to, revision)}
        )
        current = context.get_current_revision()
        if current is not None and current not in revisions():
            raise ConfigError(
                f"The store {store.shown} is of a newer denken (revision {current}, and this one knows "
                f"{scripts.get_current_head()}); update denken, or name another store by --store."
            )
        with Operations.context(context):
            context.run_migrations()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent / "migrations"))


def _parse(given: str) -> URL:
    """A URL; what has no scheme is a file."""
    try:
        url = make_url(given) if "://" in given else URL.create("sqlite", database=given)
    except (ArgumentError, ValueError):
        raise ConfigError("The store's URL cannot be read; write sqlite:///FILE or postgresql://HOST/NAME.") from None
    if url.get_backend_name() in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite" or url.query or not url.database or url.database == ":memory:":
        raise ConfigError(
            f"{url.render_as_string()!r} is no store; write a file, sqlite:///FILE or postgresql://HOST/NAME."
        )
    return url.set(database=str(Path(url.database).expanduser().absolute()))


def _engine(url: URL) -> Engine:
    if _file(url) is None:
        try:
            connecting = {"connect_timeout": 10}
            return create_engine(
                url, pool_pre_ping=True, pool_size=THREADS, hide_parameters=True, connect_args=connecting
            )
        except (ImportError, NoSuchModuleError):
            raise ConfigError("PostgreSQL needs psycopg; install it: pip install 'denken[postgresql]'") from None
    engine = create_engine(url, pool_size=THREADS, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        # Transactions are begun below, not by Python's driver, which would not put changes of tables into them.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begins(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _file(url: URL) -> Path | None:
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _make_private(file: Path) -> None:
    """For the owner alone, before anything is in it. SQLite gives the files beside it the same rights."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
            os.chmod(file, 0o600)
    finally:
        os.close(descriptor)


def _use_wal(file: Path) -> None:
    """Readers and the writer do not wait for each other. The file remembers it; SQLite does not wait for its turn here,
    so that servers that start at once have to."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if time.monotonic() > deadline or "locked" not in str(error):
                raise
        time.sleep(0.05)
