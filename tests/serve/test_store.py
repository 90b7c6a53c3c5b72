"""The store: made, migrated, refused, private; with SQLite and with PostgreSQL."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from denken.errors import ConfigError
from denken.serve import keys, tables
from denken.serve import store as store_module
from denken.serve.alive import Alive
from denken.serve.store import Store, default_url, migrate, open_store, revisions


def revision_of(store: Store) -> str | None:
    with store.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def bare(url: str) -> Store:
    """A store that nothing has been done to."""
    return Store(store_module._engine(store_module._parse(url)))


def test_the_migrations_end_where_the_tables_are(store):
    with store.read() as connection:
        # The index of words is another kind of table in either database; see chats/finding.py.
        options = {"compare_type": True, "include_name": lambda name, kind, _: not str(name).startswith("said")}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
    assert revision_of(store) == revisions()[-1]


@pytest.mark.parametrize("revision", revisions())
def test_every_revision_is_migrated_with_what_is_in_it(store_url, revision):
    with bare(store_url) as old:
        migrate(old, to=revision)
        with old.write() as connection:
            connection.execute(text("INSERT INTO keys (name, public, digest, created) VALUES ('old', 'a', 'b', 1)"))
    with open_store(store_url) as store, store.read() as connection:
        assert revision_of(store) == revisions()[-1]
        assert connection.execute(select(tables.keys.c.name, tables.keys.c.spent)).all() == [("old", 0)]


def test_servers_that_start_at_once_migrate_once(store_url):
    barrier = threading.Barrier(4)

    def start(_: int) -> str | None:
        barrier.wait()
        with open_store(store_url) as store:
            return revision_of(store)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(start, range(4))) == {revisions()[-1]}


def test_a_migration_that_fails_leaves_nothing_behind(store_url, monkeypatch):
    monkeypatch.setattr(
        MigrationContext,
        "run_migrations",
        lambda self: (self.connection.execute(text("CREATE TABLE half (a INT)")), 1 / 0),
    )
    with bare(store_url) as store:
        with pytest.raises(ZeroDivisionError):
            migrate(store)
        assert inspect(store.engine).get_table_names() == []


def test_a_newer_database_is_refused_with_a_sentence(store_url):
    with open_store(store_url) as store, store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=r"newer denken \(revision 9999.*update denken"):
        open_store(store_url)


def test_a_key_must_be_there_for_a_line_to_name_it(store):
    values = {"id": "r", "server": 1, "key": 99, "began": 1, "route": "/", "model": "m", "replies": 1}
    with pytest.raises(IntegrityError), store.write() as connection:
        connection.execute(insert(tables.requests).values(values | {"kept": 0, "kept_tokens": 0}))


def test_an_exception_rolls_back(store):
    def create_twice() -> None:
        with store.write() as connection:
            keys.create(connection, "twice")
            keys.create(connection, "twice")

    with pytest.raises(ConfigError, match="There is a key 'twice'"):
        create_twice()
    with store.read() as connection:
        assert keys.listing(connection) == []


def test_what_sqlite_is_told(sqlite_store):
    with sqlite_store.read() as connection:
        told = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")}
        assert told == {"journal_mode": "wal", "synchronous": 2}
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == store_module.BUSY_SECONDS * 1000


def test_its_files_are_for_the_owner_alone(tmp_path):
    place = tmp_path / "data" / "denken.db"
    old = os.umask(0)
    try:
        with open_store(str(place)) as store:
            alive = Alive(store)
            with store.write() as connection:
                keys.create(connection, "mine")
            files = [path for path in place.parent.rglob("*") if path.is_file() and path.parent == place.parent]
            assert {path.name for path in files} == {"denken.db", "denken.db-wal", "denken.db-shm"}
            assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
            assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
            alive.close()
    finally:
        os.umask(old)
    place.chmod(0o644)
    open_store(str(place)).close()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_where_it_lies_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv("DENKEN_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/denken/denken.db"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_url().endswith("/.local/share/denken/denken.db")
    monkeypatch.setenv("DENKEN_STORE", str(tmp_path / "mine.db"))
    with open_store() as store:
        assert store.file == tmp_path / "mine.db"


@pytest.mark.parametrize(
    "url",
    ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "sqlite:///x?mode=ro", "://", "a://b:c/"],
)
def test_what_is_no_store_is_refused_with_a_sentence(url):
    with pytest.raises(ConfigError, match=r"write .*postgresql://HOST/NAME"):
        open_store(url)


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x.db", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be opened and written .*--store or DENKEN_STORE"):
            open_store(str(place))
    (tmp_path / "not.db").write_text("this is no database, however long it is " * 100)
    with pytest.raises(ConfigError, match="not a database"):
        open_store(str(tmp_path / "not.db"))
    with pytest.raises(ConfigError) as refused:
        open_store("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(refused.value)
    assert "me:***@127.0.0.1:1/none" in str(refused.value)


def test_who_lives_is_known_and_who_has_ended_too(store):
    with open_store(store.engine.url.render_as_string(hide_password=False)) as other_store:
        mine, other = Alive(store), Alive(other_store)
        assert not mine.is_dead(mine.number)
        assert not mine.is_dead(other.number)
        mine.renew()
        other.close()
        assert mine.is_dead(other.number)
        assert mine.is_dead(12345)
        mine.close()


def test_a_lost_connection_does_not_make_a_server_dead_for_long(postgresql, store_url):
    if not store_url.startswith("postgresql"):
        pytest.skip("SQLite has no connection to lose")
    with open_store(store_url) as store, open_store(store_url) as other_store:
        mine, other = Alive(store), Alive(other_store)
        with store.write() as connection:
            end_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.execute(text(f"{end_others} AND datname = current_database()"))
        assert other.is_dead(mine.number)
        mine.renew()
        assert not other.is_dead(mine.number)
        mine.close()
        other.close()
