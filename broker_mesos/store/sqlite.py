"""Store and Records in a file of one process, for an embedded cluster with a data folder.

``SqliteStoreState`` keeps the data in memory, where the adapters of ``memory.py`` read and change it, and writes
changes to SQLite. A call returns once everything that it has changed or read is on the disk: a thread writes the
changes of all calls that wait as one transaction, so that neither the event loop nor the order of the calls depends
on how long the disk takes. If a write fails, those calls raise StoreUnavailable and the data is read again from the
file, as if the calls had never been made.

The journal mode is WAL with ``synchronous=FULL``: a committed transaction survives the loss of power. Masters, usage,
tries and the ages of leases concern running processes only, and are not written.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from broker_mesos.core.protocol.records import OutboxEntry, RecordKind
from broker_mesos.errors import Conflict, InvalidInput, StoreUnavailable
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.logs import get_logger
from broker_mesos.store.facts import CellFacts, Facts, Row
from broker_mesos.store.memory import MemoryStoreState

SCHEMA = 1
"""``user_version`` of the file; it is raised with each change of the tables."""
APPLICATION_ID = 0x626D6573
"""``application_id`` of the file: "bmes"."""
FILE = "store.sqlite"
LOCK = "store.lock"
CLOSE_TIMEOUT_SECONDS = 5.0
"""Maximum time that ``close`` waits for the last write, in seconds."""
RELOAD_PAUSE_SECONDS = 1.0
"""Pause between two attempts to read the data again after a failed write, in seconds."""

_TABLES = """
CREATE TABLE cluster (name BLOB PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lease (cell INTEGER PRIMARY KEY, term INTEGER NOT NULL, nonce BLOB NOT NULL, owner BLOB NOT NULL,
  number INTEGER NOT NULL, commit_id BLOB NOT NULL);
CREATE TABLE record (cell INTEGER, kind BLOB, id BLOB, value BLOB NOT NULL, PRIMARY KEY (cell, kind, id)) WITHOUT ROWID;
CREATE TABLE outbox (cell INTEGER, number INTEGER, exchange BLOB NOT NULL, key BLOB NOT NULL, type BLOB NOT NULL,
  body BLOB NOT NULL, message_id BLOB NOT NULL, PRIMARY KEY (cell, number)) WITHOUT ROWID;
CREATE TABLE hash (key BLOB, field BLOB, value BLOB NOT NULL, PRIMARY KEY (key, field)) WITHOUT ROWID;
CREATE TABLE zset (key BLOB, member BLOB, score REAL NOT NULL, PRIMARY KEY (key, member)) WITHOUT ROWID;
"""
_KEYS = {
    "cluster": ("name",),
    "lease": ("cell",),
    "record": ("cell", "kind", "id"),
    "outbox": ("cell", "number"),
    "hash": ("key", "field"),
    "zset": ("key", "member"),
}
"""The columns of each table's primary key, in the order of a ``Row``."""
_COLUMNS = {"cluster": 2, "lease": 6, "record": 4, "outbox": 7, "hash": 3, "zset": 3}
"""The number of each table's columns."""
_SET = {table: f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * count)})" for table, count in _COLUMNS.items()}
_DELETE = {
    table: f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in names)}"
    for table, names in _KEYS.items()
}

T = TypeVar("T")
Value = str | bytes | int | float

log = get_logger(__name__)


class SqliteStoreState(MemoryStoreState):
    """The data of a store, in a folder that one process uses at a time. Call ``open()`` before the first adapter is
    made, and ``close()`` after the last one."""

    unavailable_text = "the data folder cannot be written: see the log, and check whether its disk is full"

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.server = f"SQLite {sqlite3.sqlite_version}"
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._writer: asyncio.Task[None] | None = None
        self._written: asyncio.Future[None] | None = None
        """The result of the transaction under way."""
        self._next: asyncio.Future[None] | None = None
        """The result of the next transaction, which writes everything that has changed by then."""

    async def open(self) -> None:
        """Lock the folder, which is made if it does not exist, and read the data. Raises Conflict when another
        process uses the folder, InvalidInput when it cannot be used."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._folder / LOCK)
            self._connection = await self._in_thread(lambda: _connect(self._folder / FILE))
            self.facts = await self._in_thread(self._load)
        except (OSError, sqlite3.Error, ValueError) as error:
            await self.close()
            raise InvalidInput(_explain(error, self._folder)) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Write the last changes, and let other processes use the folder. Idempotent."""
        if self._writer is not None and not self._writer.done():
            # The wait would never end if the file can be neither written nor read.
            await asyncio.wait([self._writer], timeout=CLOSE_TIMEOUT_SECONDS)
            self._writer.cancel()
        if self._connection is not None:
            await self._in_thread(self._connection.close)
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._thread.shutdown()

    async def durable(self) -> None:
        """Wait until everything that the caller may have changed or read is on the disk. Raises StoreUnavailable if
        it was not written; then none of it is valid."""
        if self.facts.journal:
            if self._next is None:
                self._next = asyncio.get_running_loop().create_future()
            if self._writer is None or self._writer.done():
                self._writer = asyncio.create_task(self._write_all(), name="sqlite writer")
            awaited = self._next
        elif self._written is not None:
            awaited = self._written
        else:
            return
        await asyncio.shield(awaited)

    async def _write_all(self) -> None:
        while self.facts.journal:
            taken, self.facts.journal = self.facts.journal, set()
            self._written, self._next = self._next, None
            try:
                statements = _statements(taken, self.facts)
                await self._in_thread(partial(self._write, statements))
            except Exception as error:  # after any error the file does not have the changes
                await self._go_back(error)
                return
            _resolve(self._written)
            self._written = None

    async def _go_back(self, error: Exception) -> None:
        """Read the data from the file again, after a write has failed."""
        self.available = False
        reason = _explain(error, self._folder)
        log.error("changes were not written", reason=reason)
        for future in (self._written, self._next):
            _resolve(future, StoreUnavailable(reason))
        self._written = self._next = None
        while True:
            try:
                stored = await self._in_thread(self._load)
                break
            except (sqlite3.Error, ValueError) as again:
                log.error("the data cannot be read", reason=_explain(again, self._folder))
                await asyncio.sleep(RELOAD_PAUSE_SECONDS)
        last = self.facts
        for number, cell in stored.cells.items():
            known = last.cells.get(number)
            if known is not None and known.term == cell.term:
                cell.renewed_at, cell.run_id = known.renewed_at, known.run_id
                cell.recovering, cell.recovered = known.recovering, known.recovered
                cell.recovery_term = known.recovery_term
        stored.masters, stored.usage, stored.tries = last.masters, last.usage, last.tries
        self.facts = stored
        self.available = True

    def _write(self, statements: Sequence[tuple[str, list[tuple[Value, ...]]]]) -> None:
        connection = self._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in statements:
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite itself has rolled back after some errors
                connection.execute("ROLLBACK")
            raise

    def _load(self) -> Facts:
        assert self._connection is not None
        return _load(self._connection)

    async def _in_thread(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)


def _resolve(future: asyncio.Future[None] | None, error: Exception | None = None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # the waiting caller may have been cancelled


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Conflict(f"{path.parent} is in use by another bmesos: stop that one, or choose another folder") from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file. Raises InvalidInput for a file of another program or a newer schema, sqlite3.Error for a damaged
    one."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (tables or application) and application != APPLICATION_ID:
            raise InvalidInput(f"{path} belongs to another program: choose another folder")
        if version > SCHEMA:
            raise InvalidInput(
                f"{path} was written by a newer bmesos (schema {version}, this one has {SCHEMA}): "
                "start that version, or choose another folder"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(str(found).split()))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if not tables:
            connection.executescript(
                f"BEGIN; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA}; {_TABLES} COMMIT;"
            )
        # A read-only file is noticed now, and not with the first job.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR REPLACE INTO cluster VALUES (?, ?)", (b"schema", SCHEMA))
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _load(connection: sqlite3.Connection) -> Facts:
    facts = Facts(journal=set())
    for name, value in connection.execute("SELECT name, value FROM cluster"):
        if name == b"cell_count":
            facts.cell_count = value
    for cell, term, nonce, owner, number, commit_id in connection.execute("SELECT * FROM lease"):
        facts.cells[cell] = CellFacts(term, _text(nonce), _text(owner), number, _text(commit_id))
    for cell, kind, ident, value in connection.execute("SELECT * FROM record"):
        facts.cells[cell].records[RecordKind(_text(kind))][_text(ident)] = value
    for cell, number, exchange, key, type_, body, message_id in connection.execute("SELECT * FROM outbox"):
        facts.cells[cell].outbox[number] = OutboxEntry(
            number, _text(exchange), _text(key), _text(type_), body, _text(message_id)
        )
    for key, field, value in connection.execute("SELECT * FROM hash"):
        facts.hashes.setdefault(_text(key), {})[_text(field)] = _text(value)
    for key, member, score in connection.execute("SELECT * FROM zset"):
        facts.zsets.setdefault(_text(key), {})[_text(member)] = score
    return facts


def _statements(journal: Iterable[Row], facts: Facts) -> list[tuple[str, list[tuple[Value, ...]]]]:
    """The statements that bring the file up to date, each with its rows of values."""
    sets: dict[str, list[tuple[Value, ...]]] = {}
    deletes: dict[str, list[tuple[Value, ...]]] = {}
    for table, *key in journal:
        values = _values(facts, table, *key)
        row = tuple(_stored(each) for each in (*key, *(values or ())))
        (deletes if values is None else sets).setdefault(table, []).append(row)
    return [(_DELETE[table], rows) for table, rows in deletes.items()] + [
        (_SET[table], rows) for table, rows in sets.items()
    ]


def _values(facts: Facts, table: str, *key: object) -> tuple[Value, ...] | None:
    """The columns after the key; None if the value was deleted."""
    match table, *key:
        case "cluster", _:
            return (facts.cell_count,)
        case "lease", int(cell):
            stored = facts.cells[cell]
            return stored.term, stored.nonce, stored.owner, stored.commit, stored.commit_id
        case "record", int(cell), kind, str(ident):
            value = facts.cells[cell].records[RecordKind(str(kind))].get(ident)
            return None if value is None else (value,)
        case "outbox", int(cell), int(number):
            entry = facts.cells[cell].outbox.get(number)
            return None if entry is None else (entry.exchange, entry.key, entry.type, entry.body, entry.message_id)
        case "hash", str(name), str(field):
            text = facts.hashes.get(name, {}).get(field)
            return None if text is None else (text,)
        case "zset", str(name), str(member):
            score = facts.zsets.get(name, {}).get(member)
            return None if score is None else (score,)
    raise AssertionError(f"no such fact: {table} {key}")


def _stored(value: object) -> Value:
    """A text as bytes: SQLite would cut a text at a zero byte, and does not accept every text."""
    assert isinstance(value, str | bytes | int | float)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def _explain(error: Exception, folder: Path) -> str:
    """One line that describes what is wrong with the folder, and what to do."""
    text = " ".join(str(error).split())[:200]
    if isinstance(error, OSError):
        return f"the data folder {folder} cannot be used ({error.strerror or text}): choose another one"
    if isinstance(error, sqlite3.OperationalError) and "full" in text:
        return f"the disk of the data folder {folder} is full ({text}): free some space"
    if isinstance(error, sqlite3.OperationalError) and "no such" not in text:
        return f"the data folder {folder} cannot be written ({text}): see its rights and its disk"
    return f"{folder / FILE} is damaged ({text}): restore a copy, or move the folder away to start empty"
