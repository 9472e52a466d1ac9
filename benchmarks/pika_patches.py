"""What each patch of pika for speed gains: paired runs with and without it, on one private RabbitMQ.

    python -m benchmarks.pika_patches [--pairs 7] [--messages 20000] [--batch 200] [--tls]

Prints medians of this process' CPU seconds, the broker's, and wall seconds for publishing with confirms and
consuming as many messages.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from broker_mesos.bus.rabbitmq import RabbitBus, pika_patches
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.ports.bus import Outgoing
from broker_mesos.runtime.clock import SystemClock
from broker_mesos.runtime.tls import TlsFiles
from tests.security.certificates import make_certificates
from tests.servers import RabbitMQServer
from tests.tls_servers import TlsRabbitMQServer

QUEUE = Queue(QueueKind.CELL_INBOX, "0")


def server_cpu(server: RabbitMQServer) -> float:
    """CPU seconds of the broker's process group so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == os.getpgid(server.pid):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def once(
    server: RabbitMQServer, messages: int, batch: int, tls: TlsFiles | None = None
) -> tuple[float, float, float]:
    """CPU seconds of this process and of the broker, and wall seconds, of one run: ``batch`` messages are published at
    once, and when all are confirmed the next ones."""
    url = server.url
    if tls is not None:
        assert isinstance(server, TlsRabbitMQServer)
        url = server.tls_url
    bus = RabbitBus(url, clock=SystemClock(), rng=random.Random(1), tls=tls or TlsFiles())
    await bus.open(30.0)
    consumer = await bus.consume(QUEUE, prefetch=2_000)
    own, other, wall = time.process_time(), server_cpu(server), time.monotonic()

    async def publish() -> None:
        for first in range(0, messages, batch):
            await bus.writable()
            numbers = range(first, min(first + batch, messages))
            sent = [Outgoing(addresses.updates(0), "test", b"x" * 300, str(n), mandatory=True) for n in numbers]
            await asyncio.gather(*(bus.publish(each) for each in sent))

    publishing = asyncio.create_task(publish())
    left = messages
    while left:
        deliveries = await consumer.receive()
        consumer.acknowledge(deliveries)
        left -= len(deliveries)
    await publishing
    found = time.process_time() - own, server_cpu(server) - other, time.monotonic() - wall
    await consumer.close()
    await bus.close()
    return found


def main() -> None:
    """Measure each patch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=200, help="1: each message alone, as those of a lone task are")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.tls:
            with RabbitMQServer() as server:
                compare(server, options)
            return
        made = make_certificates(Path(folder))
        with TlsRabbitMQServer(made.files()) as server:
            compare(server, options, TlsFiles(str(made.path("ca.crt"))))


def compare(server: RabbitMQServer, options: argparse.Namespace, tls: TlsFiles | None = None) -> None:
    """Measure with each patch and without it, in turns, and print both."""

    def run() -> tuple[float, float, float]:
        return asyncio.run(once(server, options.messages, options.batch, tls))

    run()
    for patch in sorted(pika_patches.SPEED if tls else pika_patches.SPEED - {"read_records"}):
        runs: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
        for pair in range(options.pairs):
            for applied in (True, False) if pair % 2 else (False, True):
                (pika_patches.SPEED.add if applied else pika_patches.SPEED.discard)(patch)
                runs[applied].append(run())
        pika_patches.SPEED.add(patch)
        for at, what in enumerate(("process CPU", "broker CPU", "wall")):
            without, with_it = (statistics.median(run[at] for run in runs[each]) for each in (False, True))
            print(f"{patch:14} {what:12} {without:.2f} s -> {with_it:.2f} s ({1 - with_it / without:+.0%} saved)")


if __name__ == "__main__":
    main()
