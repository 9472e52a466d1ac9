"""``python -m benchmarks.security``: what security costs: work with TLS, rights and checked senders, and without.

Two clusters run at once, each on servers of its own, and take turns: one with ``security=on``, a user for each daemon,
`amqps://` and `rediss://`, and one as `bmesos` starts it without any settings.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.ours import array, singles
from benchmarks.record import Record, percentile
from benchmarks.rig import Rig, cpu_seconds, rig, servers, start, work_folder
from benchmarks.sizes import add_size
from tests.security.certificates import Certificates, make_certificates
from tests.security.secured import SecuredCluster, Servers
from tests.tls_servers import TlsRabbitMQServer, TlsRedisServer

TASKS = 1_000
TURNS = {"small": 2, "usual": 11, "full": 21}
"""Pairs of jobs."""
SINGLES = {"small": (10, 2), "usual": (40, 31), "full": (100, 41)}
"""Single tasks of a turn, and pairs of turns."""


class TlsServers(Servers):
    """RabbitMQ and Redis with the users of one cluster, and with TLS."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        files = certificates.files()
        broker = {"load_definitions": str(folder / "definitions.json")}
        self.tls_rabbitmq = self.rabbitmq = TlsRabbitMQServer(files, config=broker)
        self.tls_redis = self.redis = TlsRedisServer(files, config={"aclfile": str(folder / "users.acl")})

    def amqp_url(self, user: str) -> str:
        return f"amqps://{user}:{self.password(f'rabbitmq-{user}')}@localhost:{self.tls_rabbitmq.tls_port}/"

    def plain_url(self, user: str) -> str:
        """Without TLS, for the connection that looks into queues."""
        return super().amqp_url(user)

    def redis_url(self, user: str) -> str:
        return f"rediss://{user}:{self.password(f'redis-{user}')}@localhost:{self.tls_redis.tls_port}/0"


@contextlib.contextmanager
def secured() -> Iterator[Rig]:
    """A cluster with security and TLS, on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="bmesos-bench-secured-") as folder, work_folder() as tmp:
        made = make_certificates(Path(folder))
        secrets = Path(folder) / "servers"
        secrets.mkdir()
        on = TlsServers(secrets, made)
        try:
            on.start()
            with SecuredCluster(on, tmp, {"tls_ca": made.path("ca.crt")}) as cluster:
                cluster.admin_url = on.plain_url("ann")
                start(cluster)
                yield Rig(on.rabbitmq, on.redis, cluster)
        finally:
            on.close()


def ours_cpu(bench: Rig) -> tuple[float, float]:
    """CPU seconds of the daemons, and of the two servers."""
    found = {name: sum(map(cpu_seconds, pids)) for name, pids in bench.processes().items()}
    both = sum(found.pop(name) for name in Rig.SERVERS)
    return sum(found.values()), both


def measured(bench: Rig) -> tuple[float, float, float]:
    """Tasks a second of a job, and CPU milliseconds a task of the daemons and of the servers."""
    before = ours_cpu(bench)
    seconds = array(bench, TASKS)
    after = ours_cpu(bench)
    mine, servers_ = (1000 * (b - a) / TASKS for a, b in zip(before, after, strict=True))
    return TASKS / seconds, mine, servers_


def in_turns(
    on: Rig, off: Rig, turns: int, measure: Callable[[Rig], tuple[float, ...]]
) -> list[tuple[list[float], ...]]:
    """For each figure of ``measure`` its values with security, without, and their ratios. The order changes."""
    rows: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for turn in range(turns):
        if turn % 2:
            second = measure(off)
            rows.append((measure(on), second))
        else:
            rows.append((measure(on), measure(off)))
    figures = []
    for at in range(len(rows[0][0])):
        with_, without = [row[0][at] for row in rows], [row[1][at] for row in rows]
        figures.append((with_, without, [a / b for a, b in zip(with_, without, strict=True) if b]))
    return figures


def throughput(record: Record, on: Rig, off: Rig, turns: int) -> None:
    """A job of many short tasks."""
    record.section(
        f"One job of {TASKS:,} × /bin/true, with security and without",
        f"{turns} pairs of jobs, in turns, on two clusters that run at the same time. With security: TLS to both "
        "servers, a user for each daemon, checked senders. Ratios are those of pairs, with security against without.",
    )
    rates, mine, theirs = in_turns(on, off, turns, measured)
    record.add("with security", "1/s", rates[0])
    record.add("without", "1/s", rates[1])
    record.add("tasks a second, with security against without", "×", rates[2], key="rate")
    for name, figures in (("the daemons", mine), ("RabbitMQ and Redis", theirs)):
        record.add(f"CPU of {name} with security, a task", "ms", figures[0])
        record.add(f"CPU of {name} without, a task", "ms", figures[1])
        record.add(f"CPU of {name}, with security against without", "×", figures[2])


def latency(record: Record, on: Rig, off: Rig, tasks: int, turns: int) -> None:
    """Lone tasks."""

    def percentiles(bench: Rig) -> tuple[float, ...]:
        times = singles(bench, tasks)
        return tuple(1000 * percentile(times, part) for part in (50, 99))

    record.section(
        "Single tasks, with security and without",
        f"{turns} pairs of turns of {tasks} tasks, one after another, `client.run` over RabbitMQ, on idle clusters.",
    )
    for name, figures in zip(("p50", "p99"), in_turns(on, off, turns, percentiles), strict=True):
        record.add(f"{name} with security", "ms", figures[0])
        record.add(f"{name} without", "ms", figures[1])
        record.add(f"{name}, with security against without", "×", figures[2], key=name)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    options = parser.parse_args()
    with (
        Record("security", "The cost of security", options.size) as record,
        servers() as (rabbitmq, redis),
        rig(rabbitmq, redis) as off,
        secured() as on,
    ):
        for bench in (on, off):
            array(bench, 200)
            singles(bench, 5)
        throughput(record, on, off, TURNS[options.size])
        latency(record, on, off, *SINGLES[options.size])


if __name__ == "__main__":
    main()
