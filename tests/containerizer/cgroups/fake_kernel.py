"""A kernel's cgroups in a folder of a test: v1, v2 or both, with the rules that the driver has to get along with."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

from broker_mesos.containerizer.cgroups.files import CgroupFiles

V1_FILES = {
    "cpu": {
        "cpu.shares": "1024",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_burst_us": "0",
        "cpu.idle": "0",
        "cpu.stat": "throttled_time 0",
    },
    "memory": {
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.memsw.limit_in_bytes": "9223372036854771712",
        "memory.usage_in_bytes": "0",
        "memory.max_usage_in_bytes": "0",
        "memory.force_empty": "",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        "memory.stat": "total_inactive_file 0",
        "memory.use_hierarchy": "1",
        "cgroup.event_control": "",
    },
    "pids": {"pids.max": "max", "pids.current": "0", "pids.events": "max 0"},
    "cpuacct": {"cpuacct.usage": "0"},
    "blkio": {"blkio.throttle.io_service_bytes_recursive": "Total 0"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
}
V2_FILES = {
    "cpu": {"cpu.weight": "100", "cpu.max": "max 100000", "cpu.max.burst": "0", "cpu.idle": "0"},
    "memory": {
        "memory.max": "max",
        "memory.swap.max": "max",
        "memory.oom.group": "0",
        "memory.current": "0",
        "memory.peak": "0",
        "memory.events": "oom_kill 0",
        "memory.events.local": "oom 0",
        "memory.stat": "inactive_file 0",
    },
    "pids": {"pids.max": "max", "pids.current": "0", "pids.events": "max 0"},
    "io": {"io.stat": ""},
}
CORE_FILES = {"cpu.stat": "usage_usec 0", "cgroup.kill": "", "cgroup.freeze": "0", "cgroup.subtree_control": ""}


class FakeKernel(CgroupFiles):
    """Hierarchies in ``root``; ``proc`` is the folder of this process in /proc.

    ``denied`` are folders in which nothing may be changed, ``ignored`` names of files that take values and keep none,
    ``refused`` names of files that take no value, ``busy`` how often each folder cannot be removed yet.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.root = folder / "root"
        self.proc = folder / "proc"
        self.proc.mkdir(parents=True)
        (self.proc / "mountinfo").write_text("")
        (self.proc / "cgroup").write_text("")
        self.denied: set[str] = set()
        self.ignored: set[str] = set()
        self.refused: set[str] = set()
        self.busy: dict[str, int] = {}
        self.written: list[tuple[str, str]] = []
        self._v2 = str(self.root / "none")

    # -- what is mounted -------------------------------------------------------------------------------------

    def mount_v1(self, controllers: str, own: str = "/", options: str = "rw") -> None:
        folder = self.root / "cg" / controllers
        folder.mkdir(parents=True)
        self._append("mountinfo", f"31 2 0:1 / /cg/{controllers} {options} - cgroup cgroup rw,{controllers}")
        self._append("cgroup", f"8:{controllers}:{own}")
        self._fill(str(folder), controllers)
        for name in own.strip("/").split("/"):
            if name:
                folder = folder / name
                folder.mkdir()
                self._fill(str(folder), controllers)
        if "cpuset" in controllers:
            (folder / "cpuset.cpus").write_text("0-3")
            (folder / "cpuset.mems").write_text("0")

    def mount_v2(self, controllers: str, own: str = "/", inside: tuple[int, ...] = ()) -> None:
        """``controllers`` are those of the process' own cgroup, ``inside`` its other processes."""
        folder = self.root / "cg" / "unified"
        folder.mkdir(parents=True)
        self._v2 = str(folder)
        self._append("mountinfo", "29 2 0:2 / /cg/unified rw - cgroup2 cgroup2 rw")
        self._append("cgroup", f"0::{own}")
        self._fill_v2(str(folder), controllers)
        for name in own.strip("/").split("/"):
            if name:
                (folder / "cgroup.subtree_control").write_text(controllers)
                folder = folder / name
                folder.mkdir()
                self._fill_v2(str(folder), controllers)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in (os.getpid(), *inside)))

    def _append(self, name: str, line: str) -> None:
        with open(self.proc / name, "a") as file:
            file.write(line + "\n")

    def _fill(self, path: str, controllers: str) -> None:
        values = {name: text for each in controllers.split(",") for name, text in V1_FILES.get(each, {}).items()}
        self._put(path, {"cgroup.procs": "", **values})

    def _fill_v2(self, path: str, controllers: str) -> None:
        values = {name: text for each in controllers.split() for name, text in V2_FILES.get(each, {}).items()}
        kind = {} if path == self._v2 else {"cgroup.type": "domain"}
        self._put(path, {"cgroup.procs": "", "cgroup.controllers": controllers, **CORE_FILES, **kind, **values})

    @staticmethod
    def _put(path: str, values: dict[str, str]) -> None:
        for name, text in values.items():
            Path(path, name).write_text(text)

    # -- what the kernel does --------------------------------------------------------------------------------

    def _check(self, path: str) -> None:
        if any(path == each or path.startswith(f"{each}/") for each in self.denied):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def read(self, path: str) -> str:
        text = super().read(path)
        if os.path.basename(path) == "cgroup.procs":
            return "".join(f"{pid}\n" for pid in text.split() if _alive(int(pid)))
        if os.path.basename(path) == "pids.current":
            inside = self.read(os.path.join(os.path.dirname(path), "cgroup.procs")).split()
            return str(len(inside) + int(text))  # the file has the number of those that were not waited for
        return text

    def open(self, path: str) -> int:
        self._check_value(path)
        return super().open(path)

    def _check_value(self, path: str) -> None:
        self._check(path)
        if os.path.basename(path) in self.refused:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

    def read_often(self, path: str) -> str:
        return self.read(path)

    def write(self, path: str, text: str) -> None:
        self._check_value(path)
        folder, name = os.path.split(path)
        self.written.append((path, text))
        if name in self.ignored:
            return
        if name == "cgroup.procs":
            self._move(folder, os.getpid() if text == "0" else int(text))
        elif name == "cgroup.subtree_control":
            self._enable(folder, text)
        elif name == "cgroup.kill":
            for pid in self.read(f"{folder}/cgroup.procs").split():
                os.kill(int(pid), signal.SIGKILL)
        elif not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        else:
            Path(path).write_text(text)

    def _move(self, folder: str, pid: int) -> None:
        top = self._v2 if folder.startswith(self._v2) else str(self.root / "cg" / Path(folder).parts[-2])
        for procs in Path(top).rglob("cgroup.procs"):
            pids = procs.read_text().split()
            if str(pid) in pids:
                procs.write_text("".join(f"{each}\n" for each in pids if each != str(pid)))
        with open(f"{folder}/cgroup.procs", "a") as file:
            file.write(f"{pid}\n")

    def _enable(self, folder: str, text: str) -> None:
        control = Path(folder, "cgroup.subtree_control")
        name = text.removeprefix("+")
        if name not in Path(folder, "cgroup.controllers").read_text().split():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(control))
        if self.read(f"{folder}/cgroup.procs") and os.path.exists(f"{folder}/cgroup.type"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(control))
        control.write_text(f"{control.read_text()} {name}".strip())

    def make(self, path: str) -> None:
        self._check(os.path.dirname(path))
        super().make(path)
        if path.startswith(f"{self._v2}/"):
            self._fill_v2(path, Path(os.path.dirname(path), "cgroup.subtree_control").read_text())
        else:
            self._fill(path, Path(path).relative_to(self.root / "cg").parts[0])

    def remove(self, path: str) -> None:
        self._check(os.path.dirname(path))
        if self.busy.get(path, 0) > 0:
            self.busy[path] -= 1
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        if not os.path.isdir(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if self.read(f"{path}/cgroup.procs") or self.has_groups(path):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        shutil.rmtree(path)


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
