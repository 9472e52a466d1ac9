from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from broker_mesos.containerizer.sandbox import MAX_CHUNK, Sandboxes
from broker_mesos.errors import InvalidInput, NotFound


@pytest.fixture
def sandboxes(tmp_path: Path) -> Sandboxes:
    sandboxes = Sandboxes(tmp_path / "sandboxes")
    (sandboxes.create("a") / "stdout").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("secret")
    return sandboxes


@pytest.mark.parametrize(
    ("offset", "length", "data"),
    [(0, 4, b"0123"), (4, 100, b"456789"), (10, 5, b""), (0, 0, b"")],
)
def test_a_file_is_read_in_parts(sandboxes: Sandboxes, offset: int, length: int, data: bytes) -> None:
    assert sandboxes.read("a", "stdout", offset, length) == (data, offset, 10)


def test_a_reader_who_is_behind_the_end_goes_on_there(sandboxes: Sandboxes) -> None:
    """The file was truncated meanwhile."""
    assert sandboxes.read("a", "stdout", 99, 5) == (b"", 10, 10)


def test_one_read_is_bounded(sandboxes: Sandboxes) -> None:
    (sandboxes.path("a") / "big").write_bytes(b"x" * (MAX_CHUNK * 2))
    chunk = sandboxes.read("a", "big", 0, 10**12)
    assert (len(chunk.data), chunk.size) == (MAX_CHUNK, MAX_CHUNK * 2)


def test_a_file_in_a_folder_of_the_sandbox_is_read(sandboxes: Sandboxes) -> None:
    (sandboxes.path("a") / "out" / "deep").mkdir(parents=True)
    (sandboxes.path("a") / "out" / "deep" / "file").write_text("here")
    assert sandboxes.read("a", "out/deep/file", 0, 10).data == b"here"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a/stdout",
        "/etc/passwd",
        "x/../../secret",
        "./stdout",
        "stdout/",
        "a\0b",
        "x" * 5000,
    ],
)
def test_names_that_lead_out_are_refused(sandboxes: Sandboxes, name: str) -> None:
    with pytest.raises(InvalidInput):
        sandboxes.read("a", name, 0, 10)


@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "stdout"])
def test_links_are_refused(sandboxes: Sandboxes, target: str) -> None:
    (sandboxes.path("a") / "link").symlink_to(target)
    with pytest.raises(InvalidInput):
        sandboxes.read("a", "link", 0, 10)


def test_a_linked_folder_is_refused(sandboxes: Sandboxes, tmp_path: Path) -> None:
    (sandboxes.path("a") / "up").symlink_to(tmp_path)
    with pytest.raises(InvalidInput):
        sandboxes.read("a", "up/secret", 0, 10)


def test_a_sandbox_that_is_a_link_is_refused(sandboxes: Sandboxes, tmp_path: Path) -> None:
    (tmp_path / "sandboxes" / "b").symlink_to(tmp_path)
    with pytest.raises(NotFound):
        sandboxes.read("b", "secret", 0, 10)


def test_pipes_sockets_folders_and_devices_are_refused_without_waiting(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.path("a")
    os.mkfifo(sandbox / "pipe")
    (sandbox / "folder").mkdir()
    names = ["pipe", "folder", "stdout/x"]
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(sandbox)
        listener.bind("sock")
        os.chdir("/")
    names.append("sock")
    if os.getuid() == 0:
        try:
            os.mknod(sandbox / "null", 0o20666, os.makedev(1, 3))
            names.append("null")
        except PermissionError:
            pass
    for name in names:
        with pytest.raises(InvalidInput):
            sandboxes.read("a", name, 0, 10)


@pytest.mark.parametrize("task_id", ["", ".", "..", "../secret", "a/b", "x" * 256, "a\n", "é"])
def test_unusable_task_ids_are_refused(sandboxes: Sandboxes, task_id: str) -> None:
    with pytest.raises(InvalidInput):
        sandboxes.read(task_id, "stdout", 0, 10)


def test_what_does_not_exist_is_not_found(sandboxes: Sandboxes) -> None:
    for task_id, name in (("b", "stdout"), ("a", "nothing"), ("a", "no/folder"), ("a", "y" * 300)):
        with pytest.raises(NotFound):
            sandboxes.read(task_id, name, 0, 10)


def test_negative_offsets_and_lengths_are_refused(sandboxes: Sandboxes) -> None:
    for offset, length in ((-1, 5), (0, -5)):
        with pytest.raises(InvalidInput):
            sandboxes.read("a", "stdout", offset, length)


def test_a_folder_is_listed_in_pages_with_what_each_entry_is(tmp_path: Path) -> None:
    sandboxes = Sandboxes(tmp_path)
    folder = sandboxes.create("t")
    for number in range(5):
        (folder / f"f{number}").write_bytes(b"x" * number)
    (folder / "inner").mkdir()
    (folder / "inner" / "deep").write_text("1")
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    (folder / "bad\nname").write_text("")
    first = sandboxes.entries("t", "", "", 5)
    assert [each.name for each in first.entries] == ["f0", "f1", "f2", "f3", "f4"] and first.truncated
    rest = sandboxes.entries("t", "", "f4", 5)
    assert [(each.name, each.kind) for each in rest.entries] == [
        ("inner", "folder"),
        ("link", "link"),
        ("pipe", "other"),
    ]
    assert not rest.truncated and first.entries[3].size == 3
    assert [each.name for each in sandboxes.entries("t", "inner", "", 5).entries] == ["deep"]


@pytest.mark.parametrize("path", ["..", "/etc", "link", "f0", "inner/../..", "link/."])
def test_no_list_leads_out_of_the_sandbox(path: str, tmp_path: Path) -> None:
    sandboxes = Sandboxes(tmp_path)
    folder = sandboxes.create("t")
    (folder / "f0").write_text("")
    (folder / "inner").mkdir()
    (folder / "link").symlink_to("/etc")
    with pytest.raises(InvalidInput):
        sandboxes.entries("t", path, "", 5)


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    sandboxes = Sandboxes(tmp_path)
    with pytest.raises(NotFound):
        sandboxes.entries("t", "", "", 5)
    sandboxes.create("t")
    with pytest.raises(NotFound):
        sandboxes.entries("t", "x", "", 5)
