"""What an agent writes down, and what it reads again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker_mesos.agent.checkpoint import (
    Acknowledged,
    Ended,
    FileCheckpoint,
    Journal,
    KillRequested,
    Known,
    MemoryCheckpoint,
    Saved,
)
from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.errors import Conflict, InvalidInput


def known(task_id: str) -> Known:
    resources = Resources.parse("cpus:1.5;ports:[31000-31001]")
    return Known(
        AgentTask(task_id=task_id, framework_id="f1", resources=resources, offer_id="o1", labels={"a": "ä\n"}),
        4.5,
    )


def ended(task_id: str) -> Ended:
    return Ended(
        TaskStatus(task_id=task_id, state=TaskState.FAILED, uuid="u" + task_id, reason=Reason.TASK_INVALID, signal=9)
    )


def read(work_dir: Path) -> Saved:
    checkpoint = FileCheckpoint(work_dir)
    try:
        return checkpoint.open()
    finally:
        checkpoint.close()


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return FileCheckpoint(tmp_path) if request.param == "file" else MemoryCheckpoint()


def test_a_new_place_knows_nothing(journal: Journal) -> None:
    assert journal.open() == Saved()


def test_what_was_written_is_read_again(journal: Journal) -> None:
    journal.open()
    journal.save("a1", 17, "boot-1")
    journal.append([known("t1"), known("t2"), known("t3"), known("t4")])
    journal.append([KillRequested("t1"), KillRequested("t2"), ended("t2"), ended("t3"), Acknowledged("t3")])
    journal.close()
    assert journal.open() == Saved(
        "a1",
        17,
        "boot-1",
        {"t1": known("t1"), "t4": known("t4")},
        {"t1"},
        {"t2": ended("t2").status},
    )


def test_a_second_agent_is_kept_out_with_a_clear_error(tmp_path: Path) -> None:
    first = FileCheckpoint(tmp_path)
    first.open()
    with pytest.raises(Conflict, match=f"process {os.getpid()}.*{tmp_path}.*--work-dir"):
        FileCheckpoint(tmp_path).open()
    first.close()
    read(tmp_path)


def test_a_work_folder_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot use the work folder"):
        FileCheckpoint(tmp_path / "file").open()


def test_a_torn_last_line_is_skipped_and_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.open()
    checkpoint.append([known("t1"), known("t2")])
    checkpoint.close()
    path = tmp_path / "meta" / "agent.journal"
    path.write_bytes(path.read_bytes()[:-20])
    checkpoint.open()
    checkpoint.append([known("t3")])
    checkpoint.close()
    assert set(read(tmp_path).tasks) == {"t1", "t3"}


def test_lines_that_make_no_sense_are_skipped(tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.open()
    checkpoint.append([known("t1")])
    checkpoint.close()
    with (tmp_path / "meta" / "agent.journal").open("ab") as file:
        file.write(b'task {}\nend []\nwhat 1\nkill\n\xff\xfe\ntask {"task":{},"kill_grace":1}\n')
    assert set(read(tmp_path).tasks) == {"t1"}


def test_a_damaged_identity_is_an_error_and_not_a_new_agent(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "agent.json").write_text('{"agent_id": "a')
    with pytest.raises(InvalidInput, match=r"agent\.json is damaged"):
        read(tmp_path)
    FileCheckpoint(tmp_path)  # and the lock is free again
    with pytest.raises(InvalidInput):
        read(tmp_path)


def test_the_journal_is_shortened_and_forgets_nothing(tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.open()
    checkpoint.append([known("stays"), KillRequested("stays")])
    checkpoint.append([ended("waits")])
    path = tmp_path / "meta" / "agent.journal"
    sizes = []
    for i in range(3000):
        checkpoint.append([known(f"t{i}"), ended(f"t{i}"), Acknowledged(f"t{i}")])
        sizes.append(path.stat().st_size)
    assert max(sizes) < 2_000_000 and sizes[-1] < max(sizes)
    checkpoint.close()
    saved = read(tmp_path)
    assert set(saved.tasks) == {"stays"} and saved.kills == {"stays"} and set(saved.outcomes) == {"waits"}


def test_a_failed_write_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.open()
    checkpoint.append([known("t1")])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError):
            checkpoint.append([known("t2")])
    checkpoint.append([known("t3")])
    checkpoint.close()
    assert set(read(tmp_path).tasks) == {"t1", "t3"}


def test_a_full_disk_does_not_keep_an_agent_from_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.open()
    checkpoint.append([known("t1"), known("t2")])
    checkpoint.close()
    path = tmp_path / "meta" / "agent.journal"
    path.write_bytes(path.read_bytes()[:-20])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        assert set(checkpoint.open().tasks) == {"t1"}
    checkpoint.append([known("t3")])
    checkpoint.close()
    assert set(read(tmp_path).tasks) == {"t1", "t3"}


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "line", [b"task " + DEEP, b"end " + DEEP, b"kill " + DEEP, b'task {"kill_grace":1e999,"task":{}}']
)
def test_an_absurd_line_of_the_journal_does_not_keep_an_agent_from_starting(tmp_path: Path, line: bytes) -> None:
    journal = FileCheckpoint(tmp_path)
    journal.open()
    journal.append([known("t1")])
    journal.close()
    with (tmp_path / "meta" / "agent.journal").open("ab") as file:
        file.write(line + b"\n")
    assert list(FileCheckpoint(tmp_path).open().tasks) == ["t1"]


def test_an_identity_that_is_nested_absurdly_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "agent.json").write_bytes(DEEP)
    with pytest.raises(InvalidInput, match="is damaged"):
        FileCheckpoint(tmp_path).open()


def test_reservations_that_are_nested_absurdly_are_learned_from_the_cell(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "reserved_resources.json").write_bytes(DEEP)
    assert FileCheckpoint(tmp_path).open().reserved_resources is None


@pytest.mark.parametrize(
    ("stored", "term"), [(2**52 - 1, 0), (-1, 0), (10**400, 0), (1_790_000_000_000, 1_790_000_000_000)]
)
def test_a_stored_term_out_of_bounds_is_dropped(tmp_path: Path, stored: int, term: int) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "agent.json").write_text(f'{{"agent_id":"a1","highest_term":{stored},"boot_id":"b"}}')
    assert FileCheckpoint(tmp_path).open().highest_term == term
