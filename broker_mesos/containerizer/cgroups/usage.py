"""What a task has used, by the counters of its cgroup, on v1 and v2.

Counters of a cgroup go on over all tasks that it serves, so what a task has used is a difference of two readings.
"""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.containerizer.cgroups.files import CgroupFiles, number, optional, table


class Counters(NamedTuple):
    """The counters of a cgroup, which only rise."""

    cpu_usec: int = 0
    io_read: int = 0
    io_written: int = 0
    """Bytes read from and written to block devices; writes that the page cache still has are not among them."""
    throttled_usec: int = 0
    """Time for which the CPU quota stopped it."""
    fork_refusals: int = 0
    """Times that pids.max refused a new process; stays 0 on kernels that do not count it."""
    oom_kills: int = 0
    """Processes that the kernel killed to free memory."""
    own_ooms: int = 0
    """Times that its own memory limit was the reason; v2 only."""

    def since(self, earlier: Counters) -> Counters:
        """What was counted after an earlier reading."""
        return Counters(*(max(0, now - before) for now, before in zip(self, earlier, strict=True)))


class Usage(NamedTuple):
    """What one task has used so far; memory in bytes."""

    counted: Counters
    memory: int
    """Memory in use now, without the page cache that can be dropped at once."""
    memory_peak: int
    """The most memory that was in use at one time, page cache included; 0 where the kernel does not keep it."""
    pids: int
    """Processes and threads now."""


def read_counters(files: CgroupFiles, folders: dict[str, str], versions: dict[str, int]) -> Counters:
    """The counters of a cgroup. ``folders`` are its folders by controller (``core``: the one of v2, which counts CPU
    time without a controller, too); ``versions`` are those of the controllers. What cannot be read is 0."""
    own_ooms = 0
    if versions["memory"] == 2:
        oom_kills = table(files, f"{folders['memory']}/memory.events", often=True).get("oom_kill", 0)
        own_ooms = table(files, f"{folders['memory']}/memory.events.local", often=True).get("oom", 0)
    else:
        oom_kills = table(files, f"{folders['memory']}/memory.oom_control", often=True).get("oom_kill", 0)
    stat = table(files, f"{folders['cpu']}/cpu.stat", often=True)
    throttled = stat.get("throttled_usec", stat.get("throttled_time", 0) // 1000)
    read, written = _io(files, folders, versions)
    refusals = table(files, f"{folders['pids']}/pids.events", often=True).get("max", 0)
    return Counters(_cpu_usec(files, folders, stat), read, written, throttled, refusals, oom_kills, own_ooms)


def memory_in_use(files: CgroupFiles, folder: str, version: int) -> int:
    """The memory in use now, in bytes, without page cache that can be dropped at once; 0 if not known."""
    stat = table(files, f"{folder}/memory.stat")
    if version == 2:
        return max(0, number(files, f"{folder}/memory.current", often=True) - stat.get("inactive_file", 0))
    return max(0, number(files, f"{folder}/memory.usage_in_bytes", often=True) - stat.get("total_inactive_file", 0))


def memory_peak(files: CgroupFiles, folder: str, version: int) -> int:
    """The most memory that was in use at one time, in bytes; 0 if not known."""
    return number(files, f"{folder}/memory.peak" if version == 2 else f"{folder}/memory.max_usage_in_bytes")


def _cpu_usec(files: CgroupFiles, folders: dict[str, str], stat: dict[str, int]) -> int:
    if "usage_usec" in stat:
        return stat["usage_usec"]
    if "cpuacct" in folders:
        return number(files, f"{folders['cpuacct']}/cpuacct.usage", often=True) // 1000
    if "core" in folders:
        return table(files, f"{folders['core']}/cpu.stat", often=True).get("usage_usec", 0)
    return 0


def _io(files: CgroupFiles, folders: dict[str, str], versions: dict[str, int]) -> tuple[int, int]:
    read = written = 0
    if "io" not in folders:
        return 0, 0
    if versions["io"] == 2:
        # 8:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0
        for word in optional(files, f"{folders['io']}/io.stat", often=True).split():
            key, _, value = word.partition("=")
            read += int(value) if key == "rbytes" else 0
            written += int(value) if key == "wbytes" else 0
        return read, written
    for line in optional(files, f"{folders['io']}/blkio.throttle.io_service_bytes_recursive", often=True).splitlines():
        # 8:0 Read 1459200
        words = line.split()
        if len(words) == 3:
            read += int(words[2]) if words[1] == "Read" else 0
            written += int(words[2]) if words[1] == "Write" else 0
    return read, written
