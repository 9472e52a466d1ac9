from __future__ import annotations

import gzip
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker_mesos.containerizer.disk_space import measure
from broker_mesos.containerizer.namespaces import landlock
from broker_mesos.containerizer.namespaces.landlock_files import LINKS_ABI
from broker_mesos.containerizer.root_archives import BOUNDS, RootArchives
from broker_mesos.errors import InvalidInput

MB = 1 << 20
SIXTEEN_MB = gzip.compress(bytes(16 * MB), 1)
BOUNDED = BOUNDS._replace(min_free=0)


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
    return RootArchives(tmp_path / "rootfs", [str(roots)], BOUNDED)


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


def refusal(archives: RootArchives, path: str, folder: Path) -> str:
    """The line with which an archive is refused; nothing of it is left."""
    with pytest.raises(InvalidInput) as found:
        archives.open(path)
    text = str(found.value)
    assert text.startswith(f"rootfs {path} cannot be unpacked: ") and "\n" not in text
    assert [each.name for each in folder.iterdir() if each.name != ".removed" or os.listdir(each)] == []
    return text.removeprefix(f"rootfs {path} cannot be unpacked: ")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry("../evil", b"x")], "'../evil' leads out of it"),
        ([entry("/a/../../evil", b"x")], "'/a/../../evil' leads out of it"),
        (
            [entry("a", kind=tarfile.SYMTYPE, link="../../evil")],
            "its link 'a' leads out of it, to '../../evil'",
        ),
        (
            [entry("hard", kind=tarfile.LNKTYPE, link="../../secret")],
            "its link 'hard' leads out of it, to '../../secret'",
        ),
        (  # each of the names leads within, and the link makes of them one that does not
            [
                entry("a/b", kind=tarfile.DIRTYPE),
                entry("a/b/top", kind=tarfile.SYMTYPE, link="../.."),
                entry("up", kind=tarfile.SYMTYPE, link="a/b/top/../evil"),
                entry("up", b"x"),
            ],
            "leads out of it over a link",
        ),
        ([entry("odd", b"x", kind=b"Z")], "'odd' is of a kind that is not known"),
        ([entry("/".join("d" * 1_900), kind=tarfile.DIRTYPE)], "its folders are too deep"),
        ([entry("/".join(["d" * 100] * 60), kind=tarfile.DIRTYPE)], "one of its files: File name too long"),
    ],
)
def test_an_archive_that_leads_out_is_refused_and_nothing_of_it_is_left(
    archives: RootArchives, roots: Path, tmp_path: Path, entries: list[tarfile.TarInfo], words: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    path = archive(roots / "a.tar", *entries, data=b"x")
    assert words in refusal(archives, path, tmp_path / "rootfs")
    assert not list(tmp_path.rglob("evil")) and (tmp_path / "secret").read_text() == "secret"


def zeros(path: Path, first: bytes, megabytes: int) -> str:
    """A compressed archive of a header, and then so many MB of zeros, which takes hardly any room."""
    with path.open("wb") as file:
        file.write(gzip.compress(first))
        part = SIXTEEN_MB
        for _ in range(megabytes // 16):
            file.write(part)
    return str(path)


def sized(size: int, name: str = "big", kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of an entry that has so many bytes, as it says."""
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made.tobuf(tarfile.GNU_FORMAT)


def test_bombs_are_refused_before_they_take_what_others_need(roots: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rootfs"
    small = RootArchives(folder, [str(roots)], BOUNDED._replace(files=5, memory=128 * MB, seconds=90.0))
    many = archive(roots / "many.tar", *(entry(f"f{number}") for number in range(9)))
    assert refusal(small, many, folder) == "it has more than 5 files"
    large = zeros(roots / "large.tar.gz", sized(1 << 60), 16)
    assert refusal(small, large, folder).startswith("it does not fit on the disk of the work folder: one of its files")
    left_out = zeros(roots / "device.tar.gz", sized(1 << 60, "null", tarfile.CHRTYPE), 16)
    assert refusal(small, left_out, folder).startswith("it does not fit on the disk")
    name = zeros(roots / "name.tar.gz", sized(2 << 30, "././@LongLink", tarfile.GNUTYPE_LONGNAME), 256)
    assert refusal(small, name, folder) == "that takes more than 128 MB of memory"
    negative = zeros(roots / "negative.tar.gz", sized(-(1 << 40)), 16)
    assert refusal(small, negative, folder)
    torn = roots / "torn.tar.gz"
    torn.write_bytes(gzip.compress(sized(100 * MB) + bytes(100))[:-20])
    assert refusal(small, str(torn), folder)


def test_an_archive_that_decompresses_without_end_is_given_up_in_time_and_another_one_unpacked_meanwhile(
    roots: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "rootfs"
    archives = RootArchives(folder, [str(roots)], BOUNDED._replace(seconds=1.0, min_free=0))
    good = archives.open(archive(roots / "good.tar", entry("a", b"x"), data=b"x"))
    endless = str(roots / "endless.tar.gz")
    with open(endless, "wb") as file:  # one file again and again, so that it takes hardly any disk
        part = gzip.compress(sized(MB) + bytes(MB))
        for _ in range(8_000):
            file.write(part)
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(pytest.raises, InvalidInput, archives.open, endless)
        while not archives._unpacking.locked() and not refused.done():
            pass
        assert archives.open(str(roots / "good.tar")) == good
        assert "that takes more than 1 s" in str(refused.result().value)


def test_a_sparse_file_keeps_its_holes_and_one_that_cannot_fit_is_refused(
    archives: RootArchives, roots: Path, tmp_path: Path
) -> None:
    (tmp_path / "s").touch()
    os.truncate(tmp_path / "s", 64 * MB)
    subprocess.run(["tar", "-C", tmp_path, "-S", "-cf", roots / "sparse.tar", "s"], check=True)
    found = Path(archives.open(str(roots / "sparse.tar"))) / "s"
    assert found.stat().st_size == 64 * MB and found.stat().st_blocks * 512 < MB
    os.truncate(tmp_path / "s", 1 << 43)
    subprocess.run(["tar", "-C", tmp_path, "-S", "-cf", roots / "huge.tar", "s"], check=True)
    archives.collect([], 2**40)
    assert "it does not fit on the disk of the work folder" in refusal(
        archives, str(roots / "huge.tar"), tmp_path / "rootfs"
    )


def test_a_hard_link_is_one_and_belongs_to_the_agent_as_all_that_is_unpacked(
    archives: RootArchives, roots: Path
) -> None:
    path = archive(
        roots / "a.tar",
        entry("usr/bin/a", b"x", mode=0o755),
        entry("bin/b", kind=tarfile.LNKTYPE, link="usr/bin/a"),
        entry("bin/dangling", kind=tarfile.SYMTYPE, link="/no/where"),
        entry("also", kind=tarfile.LNKTYPE, link="bin/dangling"),
        entry("fifo", kind=tarfile.FIFOTYPE),
        entry("sda", kind=tarfile.BLKTYPE),
        data=b"x",
    )
    folder = Path(archives.open(path))
    assert (folder / "bin" / "b").samefile(folder / "usr" / "bin" / "a")
    assert os.readlink(folder / "also") == "../no/where"
    assert sorted(os.listdir(folder)) == ["also", "bin", "usr"]  # no devices
    assert {each.lstat().st_uid for each in (folder, *folder.rglob("*"))} == {os.geteuid()}


CONFINED = """
import ctypes, json, os, resource, socket, sys
from broker_mesos.containerizer.root_archives import BOUNDS
from broker_mesos.containerizer.unpacking.confine import UNPACKER, confine
secret, folder, root = sys.argv[1:]
if not root and os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65_534, 65_534, 65_534)
    os.setresuid(65_534, 65_534, 65_534)
if os.geteuid() == 0:
    os.chown(folder, UNPACKER.uid, UNPACKER.gid)
def tried(what, *given):
    try:
        what(*given)
    except OSError as error:
        return type(error).__name__
    return "done"
def connect():
    with socket.socket() as made:
        made.connect(("127.0.0.1", int(os.environ["PORT"])))
def capabilities():
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capget(header, data) == 0
    return list(data)
inside = confine(folder, BOUNDS, as_unpacker=os.geteuid() == 0)
found = {
    "read": tried(open, secret),
    "write": tried(open, os.path.join(os.path.dirname(secret), "evil"), "w"),
    "fill": tried(open, os.path.join(inside, "good"), "w"),
    "device": tried(os.mknod, os.path.join(inside, "null"), 0o20666, os.makedev(1, 3)),
    "connect": tried(connect),
    "fork": tried(os.fork),
    "ids": [os.geteuid() == 0, os.getresuid()[2] == 0],
    "capabilities": capabilities(),
}
os.write(1, json.dumps(found).encode())
os._exit(0)
"""


@pytest.mark.parametrize("root", [True, False])
def test_the_process_that_unpacks_reaches_no_other_file_no_network_and_no_other_process(
    root: bool, open_dir: Path
) -> None:
    if os.geteuid() and root:
        pytest.skip("only root has another user for it")
    if landlock.abi() < LINKS_ABI and not root:
        pytest.skip("without Landlock a process of an ordinary user cannot be confined")
    secret, folder = open_dir / "secret", open_dir / "new" / "root"
    secret.write_text("secret")
    open_dir.chmod(0o777)
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = {"PORT": str(server.getsockname()[1]), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, secret, folder, "root" if root else ""],
            capture_output=True,
            text=True,
            env=port,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("fill") == "done"
    assert "done" not in [found[name] for name in ("read", "write", "device", "connect", "fork")], found
    assert found["ids"] == [False, False] and set(found["capabilities"]) == {0}
    assert not (open_dir / "evil").exists()


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
    full = RootArchives(tmp_path / "rootfs", [str(roots)], BOUNDED._replace(min_free=1 << 60))
    os.truncate(path, 0)
    large = zeros(roots / "b.tar.gz", sized(int(0.97 * measure(str(roots)).free)), 16)  # type: ignore[union-attr]
    assert "does not fit on the disk" in refusal(full, large, tmp_path / "rootfs")


def test_a_changed_archive_is_another_root_file_system(archives: RootArchives, roots: Path) -> None:
    first = archives.open(archive(roots / "a.tar", entry("a", b"x"), data=b"x"))
    assert archives.open(archive(roots / "a.tar", entry("a", b"yy"), data=b"yy")) != first
