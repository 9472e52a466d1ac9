"""The data that an agent keeps on disk: its id, the highest term, its tasks and their outcomes.

In ``<work_dir>/meta/``::

    agent.lock      flock: one agent for each work folder
    agent.json      id, highest term, boot id; replaced by rename, flushed to the device
    reserved_resources.json   reservations and volumes, as the cell last sent them, and which volumes are to be deleted
    agent.journal   one record a line, a word and its JSON:
                      task {AgentTask, kill_grace}   a task; written before its process is started
                      kill "task id"                 a kill was requested
                      end {TaskStatus}               the outcome; written before it is sent
                      ack "task id"                  the outcome is committed; the task may be deleted

The journal is not flushed to the device: the page cache survives the death of any process, and a crash of
the machine ends the tasks anyway. A torn last line is normal, and skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import ValidationError

from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.reservation import ReservedResources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.protocol.limits import MAX_COMMAND_TERM
from broker_mesos.errors import Conflict, InvalidInput
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)


class Known(NamedTuple):
    """A journal record: a task that is about to be started."""

    task: AgentTask
    kill_grace: float


class KillRequested(NamedTuple):
    """A journal record: a kill was requested; ``evicted`` if the agent itself ends a task that runs on slack."""

    task_id: str
    evicted: bool = False


class Ended(NamedTuple):
    """A journal record: the outcome of a task."""

    status: TaskStatus


class Acknowledged(NamedTuple):
    """A journal record: a cell has committed the outcome."""

    task_id: str


Entry = Known | KillRequested | Ended | Acknowledged


@dataclass
class Saved:
    """The facts that an earlier agent process has stored. ``tasks`` are those without an outcome."""

    agent_id: str = ""
    highest_term: int = 0
    boot_id: str = ""
    tasks: dict[str, Known] = field(default_factory=dict)
    kills: set[str] = field(default_factory=set)
    outcomes: dict[str, TaskStatus] = field(default_factory=dict)
    reserved_resources: ReservedResources | None = None
    dropped_volumes: tuple[str, ...] = ()
    """Ids of volumes that no longer exist for the cell; their folders are deleted once no task uses them."""
    evicted: set[str] = field(default_factory=set)
    """Ids of the killed tasks whose kill was an eviction."""

    def apply(self, entry: Entry) -> None:
        """Apply one record."""
        match entry:
            case Known(task):
                self.tasks[task.task_id] = entry
            case KillRequested(task_id, evicted):
                self.kills.add(task_id)
                (self.evicted.add if evicted else self.evicted.discard)(task_id)
            case Ended(status):
                self.tasks.pop(status.task_id, None)
                self.kills.discard(status.task_id)
                self.evicted.discard(status.task_id)
                self.outcomes[status.task_id] = status
            case Acknowledged(task_id):
                self.outcomes.pop(task_id, None)


class Journal(Protocol):
    """The place where an agent stores its facts."""

    def open(self) -> Saved:
        """Lock the place and read it. Raises Conflict when another agent uses it, InvalidInput when it is
        unusable."""
        ...

    def save(self, agent_id: str, highest_term: int, boot_id: str) -> None:
        """Replace the agent's own facts; they are durable when this returns. Raises InvalidInput when that is not
        possible."""
        ...

    def save_reserved_resources(self, reserved_resources: ReservedResources, dropped_volumes: tuple[str, ...]) -> None:
        """Replace the reservations and volumes; they are durable when this returns. Raises InvalidInput when that is
        not possible."""
        ...

    def append(self, entries: Sequence[Entry]) -> None:
        """Append all records. Raises OSError, and then none of them is written."""
        ...

    def close(self) -> None:
        """Release the lock, so that another agent may use the place. May be called more than once."""
        ...


class MemoryCheckpoint:
    """A journal in memory that outlives the agent object but not the process, for tests and simulations."""

    def __init__(self) -> None:
        self.saved = Saved()
        self._open = False

    def open(self) -> Saved:
        if self._open:
            raise Conflict("another agent uses this memory; close it first")
        self._open = True
        saved = self.saved
        return Saved(
            saved.agent_id,
            saved.highest_term,
            saved.boot_id,
            dict(saved.tasks),
            set(saved.kills),
            dict(saved.outcomes),
            saved.reserved_resources,
            saved.dropped_volumes,
            set(saved.evicted),
        )

    def save(self, agent_id: str, highest_term: int, boot_id: str) -> None:
        self.saved.agent_id, self.saved.highest_term, self.saved.boot_id = agent_id, highest_term, boot_id

    def save_reserved_resources(self, reserved_resources: ReservedResources, dropped_volumes: tuple[str, ...]) -> None:
        self.saved.reserved_resources, self.saved.dropped_volumes = reserved_resources, dropped_volumes

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.saved.apply(entry)

    def close(self) -> None:
        self._open = False


class FileCheckpoint:
    """A journal in a work folder; the module's docstring lists its files."""

    def __init__(self, work_dir: Path) -> None:
        self._meta = Path(work_dir).absolute() / "meta"
        self._lock = -1
        self._fd = -1
        self._size = 0
        self._lines = 0
        # The lines that are still needed, by task: a compaction writes these only.
        self._live: dict[str, list[bytes]] = {}

    def open(self) -> Saved:
        try:
            self._meta.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._meta / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidInput(
                f"cannot use the work folder {self._meta.parent}: {error.strerror}; choose another --work-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            self._lock = -1
            raise Conflict(
                f"another agent{f' (process {owner})' if owner else ''} uses {self._meta.parent}; "
                "give each agent a --work-dir of its own"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        try:
            saved = self._load()
            try:
                self._compact()
            except OSError as error:
                log.warning("cannot shorten the agent's journal", error=str(error))
                self._reuse()
        except OSError as error:
            self.close()
            raise InvalidInput(f"cannot read {self._meta}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise
        return saved

    def save(self, agent_id: str, highest_term: int, boot_id: str) -> None:
        facts = {"agent_id": agent_id, "highest_term": highest_term, "boot_id": boot_id}
        self._write("agent.json", json.dumps(facts).encode())

    def save_reserved_resources(self, reserved_resources: ReservedResources, dropped_volumes: tuple[str, ...]) -> None:
        facts = {
            "reserved_resources": reserved_resources.model_dump(mode="json", exclude_defaults=True),
            "dropped_volumes": dropped_volumes,
        }
        self._write("reserved_resources.json", json.dumps(facts).encode())

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._replace(name, data)
        except OSError as error:
            raise InvalidInput(f"cannot write to the work folder {self._meta.parent}: {error.strerror}") from None

    def _replace(self, name: str, data: bytes) -> None:
        new = self._meta / f"{name}.new"
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, self._meta / name)
        folder = os.open(self._meta, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append(self, entries: Sequence[Entry]) -> None:
        lines = [_line(entry) for entry in entries]
        data = b"".join(lines)
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            # Without this, a torn line and the next good one would become one unreadable line.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self._lines += len(lines)
        for entry, line in zip(entries, lines, strict=True):
            self._index(entry, line)
        if self._lines > 4096 + 4 * len(self._live):
            try:
                self._compact()
            except OSError as error:
                # The records are written; the longer, old file is still valid.
                log.warning("cannot shorten the agent's journal", error=str(error))

    def close(self) -> None:
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def _index(self, entry: Entry, line: bytes) -> None:
        match entry:
            case Known(task):
                self._live[task.task_id] = [line]
            case KillRequested(task_id):
                self._live.setdefault(task_id, []).append(line)
            case Ended(status):
                self._live[status.task_id] = [line]
            case Acknowledged(task_id):
                self._live.pop(task_id, None)

    def _load(self) -> Saved:
        saved = Saved()
        self._live.clear()
        path = self._meta / "agent.json"
        try:
            facts = json.loads(path.read_bytes())
            saved.agent_id = str(facts["agent_id"])
            saved.highest_term = _plausible_term(int(facts["highest_term"]))
            saved.boot_id = str(facts["boot_id"])
        except FileNotFoundError:
            pass
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            raise InvalidInput(
                f"{path} is damaged; mend it, or remove the work folder to begin as a new agent"
            ) from None
        path = self._meta / "reserved_resources.json"
        try:
            facts = json.loads(path.read_bytes())
            saved.reserved_resources = ReservedResources.model_validate(facts["reserved_resources"])
            saved.dropped_volumes = tuple(str(each) for each in facts["dropped_volumes"])
        except FileNotFoundError:
            pass
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            # The cell knows the reservations too and sends them again; no volume that it names is deleted.
            log.warning("cannot read the reservations of this agent; its cell will send them", path=str(path))
        try:
            lines = (self._meta / "agent.journal").read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        bad = 0
        for line in lines:
            if not line:
                continue
            entry = _entry(line)
            if entry is None:
                bad += 1
                continue
            saved.apply(entry)
            self._index(entry, line + b"\n")
        if bad:
            log.warning("unreadable lines in the agent's journal", count=bad)
        return saved

    def _reuse(self) -> None:
        """Append to the file as it is, after removing a torn last line."""
        path = self._meta / "agent.journal"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        data = path.read_bytes()
        self._fd, self._size, self._lines = fd, data.rfind(b"\n") + 1, data.count(b"\n")
        os.ftruncate(fd, self._size)

    def _compact(self) -> None:
        """Rewrite the file with the lines that are still needed. Raises OSError, and then the old file stays."""
        new = self._meta / "agent.journal.new"
        lines = [line for lines in self._live.values() for line in lines]
        data = b"".join(lines)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(28, "No space left on device")
            os.rename(new, self._meta / "agent.journal")
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._lines = fd, len(data), len(lines)


def _plausible_term(term: int) -> int:
    """The term, or 0 if it is so high that no owner of a cell can have had it: the agent would refuse every command."""
    if 0 <= term < MAX_COMMAND_TERM:
        return term
    log.warning("the stored highest term is out of bounds, and is dropped", term=str(term)[:40])
    return 0


def _line(entry: Entry) -> bytes:
    match entry:
        case Known(task, grace):
            body = task.__pydantic_serializer__.to_json(task, exclude_defaults=True)
            return b'task {"kill_grace":%s,"task":%s}\n' % (json.dumps(grace).encode(), body)
        case KillRequested(task_id, evicted):
            return b"%s %s\n" % (b"evict" if evicted else b"kill", json.dumps(task_id).encode())
        case Ended(status):
            return b"end %s\n" % status.__pydantic_serializer__.to_json(status, exclude_defaults=True)
        case Acknowledged(task_id):
            return b"ack %s\n" % json.dumps(task_id).encode()


def _entry(line: bytes) -> Entry | None:
    word, _, body = line.partition(b" ")
    try:
        value = json.loads(body)
        match word:
            case b"task":
                return Known(AgentTask.model_validate(value["task"]), float(value["kill_grace"]))
            case b"kill":
                return KillRequested(str(value))
            case b"evict":
                return KillRequested(str(value), evicted=True)
            case b"end":
                return Ended(TaskStatus.model_validate(value))
            case b"ack":
                return Acknowledged(str(value))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError, ValidationError):
        pass
    return None
