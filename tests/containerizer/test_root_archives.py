from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from broker_mesos.containerizer.root_archives import RootArchives
from broker_mesos.errors import InvalidInput


def entry(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o4640
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode, made.uid = kind, link, mode, 77
    made.size = len(data)
    return made


def archive(path: Path, *entries: tarfile.TarInfo, data: bytes = b"") -> str:
    with tarfile.open(path, "w:gz") as made:
        for each in entries:
            made.addfile(each, io.BytesIO(data[: each.size]))
    return str(path)


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "roots").mkdir()
    return tmp_path / "roots"


@pytest.fixture
def archives(tmp_path: Path, roots: Path) -> RootArchives:
    return RootArchives(tmp_path / "rootfs", [str(roots)], min_free=0)


def test_an_archive_is_unpacked_once_and_readable_for_all_users(archives: RootArchives, roots: Path) -> None:
    path = archive(
        roots / "a.tar.gz",
        entry("etc", kind=tarfile.DIRTYPE, mode=0o700),
        entry("etc/name", b"hello", mode=0o4755),
        entry("etc/link", kind=tarfile.SYMTYPE, link="/etc/name"),
        entry("null", kind=tarfile.CHRTYPE),
        data=b"hello",
    )
    umask = os.umask(0o077)
    try:
        folder = Path(archives.open(path))
    finally:
        os.umask(umask)
    assert (folder / "etc" / "link").read_text() == "hello" and os.readlink(folder / "etc" / "link") == "name"
    assert not (folder / "null").exists()
    modes = [path.stat().st_mode & 0o7777 for path in (folder, folder / "etc", folder / "etc" / "name")]
    assert modes == [0o755, 0o755, 0o755]
    (folder / "mark").touch()
    assert archives.open(path) == str(folder) and (folder / "mark").exists()
    assert archives.collect([str(folder)], 2**40) == [] and archives.collect([], 0.0) == []
    assert archives.collect([], 2**40) == [folder.name] and not folder.exists()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../evil", b"x")],
        [entry("a", kind=tarfile.SYMTYPE, link="../../evil")],
        [entry("a", kind=tarfile.SYMTYPE, link="."), entry("a/../../evil", b"x")],
        [entry("hard", kind=tarfile.LNKTYPE, link="../../secret")],
    ],
)
def test_an_archive_that_leads_out_is_refused_and_nothing_of_it_is_left(
    archives: RootArchives, roots: Path, tmp_path: Path, entries: list[tarfile.TarInfo]
) -> None:
    path = archive(roots / "a.tar", *entries, data=b"x")
    with pytest.raises(InvalidInput, match="cannot be unpacked") as found:
        archives.open(path)
    assert "\n" not in str(found.value)
    assert os.listdir(tmp_path / "rootfs") == [] and not (tmp_path / "evil").exists()


def test_what_is_no_archive_or_in_no_root_is_refused(archives: RootArchives, roots: Path, tmp_path: Path) -> None:
    (roots / "text").write_text("no archive")
    (roots / "out").symlink_to("/etc")
    for path, text in (
        (roots / "text", "cannot be unpacked"),
        (roots / "missing", "no such folder or archive"),
        (tmp_path, "is not below the rootfs_roots of its agent"),
        (roots / "out", "is not below"),
        (f"{roots}/../x", "is not below"),
    ):
        with pytest.raises(InvalidInput, match=text):
            archives.open(str(path))
    with pytest.raises(InvalidInput, match="takes no root file systems: its rootfs_roots is empty"):
        RootArchives(tmp_path / "rootfs", []).open(str(roots))
    assert archives.open(str(roots)) == str(roots)


def test_an_archive_that_does_not_fit_on_the_disk_is_not_unpacked(roots: Path, tmp_path: Path) -> None:
    path = archive(roots / "a.tar", entry("a", b"x"), data=b"x")
    with pytest.raises(OSError, match="does not fit"):
        RootArchives(tmp_path / "rootfs", [str(roots)], min_free=1 << 60).open(path)
    assert os.listdir(tmp_path / "rootfs") == []


def test_a_changed_archive_is_another_root_file_system(archives: RootArchives, roots: Path) -> None:
    first = archives.open(archive(roots / "a.tar", entry("a", b"x"), data=b"x"))
    assert archives.open(archive(roots / "a.tar", entry("a", b"yy"), data=b"yy")) != first
