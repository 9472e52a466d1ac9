"""The client's transport over RabbitMQ, with its own gateway.

Requests about jobs and their output are sent as JSON. The gateway, which comes with all models, is loaded by the first
other one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from broker_mesos.bus.open import open_bus
from broker_mesos.bus.rabbitmq.server import Unreachable as NotReached
from broker_mesos.bus.requests import Requester
from broker_mesos.client.transport import ANSWER_MARGIN_SECONDS, NEXT_STEP, Unreachable
from broker_mesos.errors import BrokerMesosError, TimedOut, Unavailable
from broker_mesos.frameworks.registry import framework_for
from broker_mesos.operator.json_requests import answered_within, encoded, pass_on
from broker_mesos.operator.task_logs import READ_LOG, TaskLogs, TaskPlace
from broker_mesos.ports.bus import Bus
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.runtime.tls import NO_FILES, TlsFiles
from broker_mesos.runtime.urls import redact

if TYPE_CHECKING:
    from broker_mesos.operator.gateway import Gateway

# What the bus and pika log, a client raises: without a handler Python would print it to stderr as well.
for _name in ("broker_mesos", "pika"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class BusTransport:
    """An event loop in a thread, with a bus, a requester and a gateway on it; opened by the first request."""

    def __init__(self, url: str, cluster: str, tls: TlsFiles = NO_FILES) -> None:
        self._url = url
        self._tls = tls
        self._cluster = cluster
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: _Connection | None = None

    def call(self, kind: str, fields: Mapping[str, Any], timeout: float, held: float) -> Any:
        """See :class:`Transport`."""
        limit = timeout + held + ANSWER_MARGIN_SECONDS
        if (framework := framework_for(kind)) is not None:
            body = encoded(kind, fields)
            loop, connection = self._open(timeout)
            return self._run(loop, pass_on(connection.requester, framework, kind, body, timeout + held), limit)
        if kind == READ_LOG:
            loop, connection = self._open(timeout)
            return self._run(loop, connection.read_log(fields, timeout, timeout + held), limit)
        # Only here: the gateway comes with all models.
        from broker_mesos.client.requests import validated

        request = validated(kind, fields)
        loop, connection = self._open(timeout)
        return self._run(loop, connection.gateway.handle(request, timeout), limit).model_dump(mode="json")

    def close(self) -> None:
        """See :class:`Transport`."""
        with self._lock:
            loop, self._loop = self._loop, None
            connection, self._connection = self._connection, None
            if loop is not None and connection is not None:
                with contextlib.suppress(BrokerMesosError):
                    self._run(loop, connection.close(), 5.0)
                self._end(loop)

    def _open(self, timeout: float) -> tuple[asyncio.AbstractEventLoop, _Connection]:
        with self._lock:
            if self._loop is not None and self._connection is not None:
                return self._loop, self._connection
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=loop.run_forever, name="bmesos-client", daemon=True)
            self._thread.start()
            try:
                connection: _Connection = self._run(
                    loop,
                    _Connection.open(self._url, self._cluster, self._tls, timeout),
                    timeout + ANSWER_MARGIN_SECONDS,
                )
            except Unavailable as error:
                self._end(loop)
                # One that is there and does not answer needs no other cluster.
                hint = f"; {NEXT_STEP}" if isinstance(error, NotReached) else ""
                raise Unreachable(f"{error}{hint}") from None
            except BaseException:
                self._end(loop)
                raise
            self._loop, self._connection = loop, connection
            return loop, connection

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        if not loop.is_running():
            loop.close()

    def _run(self, loop: asyncio.AbstractEventLoop, coroutine: Any, limit: float) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(limit)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimedOut(f"no answer over {redact(self._url)} within {limit:g} s; try again") from None
        except concurrent.futures.CancelledError:
            raise Unavailable("this client was closed") from None
        except BaseException:
            future.cancel()
            raise


class _Connection:
    """What lives on the event loop of a :class:`BusTransport`."""

    def __init__(self, bus: Bus, requester: Requester) -> None:
        self._bus = bus
        self.requester = requester
        self._logs = TaskLogs(requester, self._find_task)

    @cached_property
    def gateway(self) -> Gateway:
        """The gateway of this client, which is made when it is first used."""
        from broker_mesos.operator.gateway import Gateway

        return Gateway(self.requester, of_person=True)

    @classmethod
    async def open(cls, url: str, cluster: str, tls: TlsFiles, timeout: float) -> _Connection:
        """Connect, within ``timeout`` seconds."""
        bus = open_bus(url, name=f"bmesos client {os.getpid()}", cluster=cluster, tls=tls)
        try:
            await bus.open(timeout)
            requester = Requester(bus, SystemClock(), new_id)
            await requester.start()
        except BaseException:
            await bus.close()
            raise
        return cls(bus, requester)

    async def read_log(self, fields: Mapping[str, Any], timeout: float, limit: float) -> Any:
        """The next part of a task's output, within ``limit`` seconds."""
        async with answered_within(limit, READ_LOG, self.requester):
            return await self._logs.read(fields, timeout)

    async def _find_task(self, task_id: str, timeout: float) -> TaskPlace | None:
        return await self.gateway.find_task(task_id, timeout)

    async def close(self) -> None:
        """Disconnect."""
        await self.requester.close()
        await self._bus.close()
