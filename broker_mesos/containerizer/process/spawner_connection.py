"""The agent's end of the spawner's socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from broker_mesos.containerizer.json_lines import JsonLines


class Connection(asyncio.Protocol):
    """Splits the spawner's output into records; the records of the greeting are delivered as one batch."""

    def __init__(self, on_records: Callable[[list[list[Any]]], None]) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self.greeting: asyncio.Future[list[list[Any]]] = asyncio.get_running_loop().create_future()
        self.on_records = on_records
        self._hello: list[list[Any]] = []
        self._lines = JsonLines()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        records = [json.loads(line) for line in self._lines.feed(data)]
        if not self.greeting.done():
            while records:
                self._hello.append(records.pop(0))
                if self._hello[-1][0] == "ready":
                    self.greeting.set_result(self._hello)
                    break
        if records:
            self.on_records(records)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.greeting.done():
            self.greeting.set_exception(ConnectionResetError("the spawner closed the connection"))
            self.greeting.exception()  # retrieved: no warning if no caller awaits it
        if not self.lost.done():
            self.lost.set_result(None)
