"""An embedded cluster in a thread, with its HTTP face: what `bmesos local` runs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from broker_mesos.ports.bus import Bus
from broker_mesos.wiring.local import LocalCluster


class Embedded:
    """The cluster, and a way into its event loop."""

    def __init__(self, cluster: LocalCluster, loop: asyncio.AbstractEventLoop) -> None:
        self.cluster = cluster
        self.url = cluster.url
        self._loop = loop

    def do(self, work: Callable[[Bus], Awaitable[Any]]) -> Any:
        """Run something there with a bus of its own."""

        async def run() -> Any:
            bus = self.cluster.bus("test")
            await bus.open(5)
            try:
                return await work(bus)
            finally:
                await bus.close()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)


@contextlib.contextmanager
def embedded() -> Iterator[Embedded]:
    """Yields it once it serves."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        async with LocalCluster(port=0) as cluster:
            found["stop"] = asyncio.Event()
            found["made"] = Embedded(cluster, asyncio.get_running_loop())
            started.set()
            await found["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(30), "the cluster did not start"
    made: Embedded = found["made"]
    try:
        yield made
    finally:
        made._loop.call_soon_threadsafe(found["stop"].set)
        thread.join(30)
        assert not thread.is_alive(), "the cluster did not stop"
