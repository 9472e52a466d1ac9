"""Runs the guest machine of ``make test-cgroup2``, beside a cluster without agents that it can reach.

``python -m tests.guest.outside ROOT FOLDER [PART...]``: the folder ROOT, with Debian, becomes a file system in FOLDER,
from which QEMU starts. What the guest writes to its second serial line is printed as it comes. Ends with 0 if all tests
of the parts have passed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.servers import RabbitMQServer, RedisServer

LOOPBACK_OUTSIDE = "10.0.2.2"
"""Where the user network of QEMU has the loopback of this machine."""
SETTINGS = "\n".join(
    [
        f'cluster = "{(CLUSTER := "guest")}"',
        # The broker is on this machine, which the guest does not know.
        "insecure_plaintext = true",
        "",
    ]
)
AGENT_MISSED = 120
"""Heartbeats that the agent may miss: a guest without a processor of its own is slow, and its agent is restarted."""
LIMIT_SECONDS = 5400
DISK_BYTES = 2 << 30


def make_disk(root: Path, disk: Path) -> None:
    """Write a folder into a file system, without a journal: it is read after a machine that is switched off."""
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, disk], check=True)


def command(root: Path, disk: Path, console: Path, parts: Sequence[str]) -> list[str]:
    """The command that runs the guest."""
    (kernel,), (initrd,) = (list((root / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
    # A machine that is emulated beside others may wait for its timer longer than the kernel looks for one.
    append = "root=/dev/vda rw console=ttyS0 init=/guest/init quiet panic=1 no_timer_check nowatchdog"
    append += f" bmesos.parts={','.join(parts)}"
    return [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1500", "-no-reboot"),
        *("-display", "none", "-monitor", "none", "-kernel", str(kernel), "-initrd", str(initrd), "-append", append),
        *("-drive", f"file={disk},if=virtio,format=raw"),
        *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"),
        *("-serial", f"file:{console}", "-serial", "stdio"),
    ]


def run(words: Sequence[str]) -> str:
    """Run the guest, print what it reports, and return the last line."""
    last = ""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", process_group=0
    ) as process:
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
        signal.alarm(LIMIT_SECONDS)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.strip() or last
                print(line, end="", flush=True)
        finally:
            signal.alarm(0)
            process.kill()
    return last


def main(root: Path, folder: Path, parts: Sequence[str]) -> int:
    disk, console = folder / "disk", folder / "console"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # that ends what was started
    with RabbitMQServer() as rabbitmq, RedisServer() as redis, tempfile.TemporaryDirectory() as tmp:
        with Cluster(rabbitmq.url, redis.url, CLUSTER, Path(tmp), {"agent_missed": AGENT_MISSED}) as cluster:
            cluster.master(cells=1)
            cluster.batch()
            cluster.ready()
            etc = root / "etc" / "bmesos"
            etc.mkdir(exist_ok=True)
            (etc / "bmesos.toml").write_text(SETTINGS)
            (etc / "broker-url").write_text(rabbitmq.url.replace("127.0.0.1", LOOPBACK_OUTSIDE))
            (etc / "broker-url").chmod(0o600)
            make_disk(root, disk)
            last = run(command(root, disk, console, parts))
            if last == "== result: passed":
                return 0
            tail = console.read_text(errors="replace").splitlines()[-5:] if console.exists() else []
            print("the guest has not passed its tests; its console:", *tail, sep="\n", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
