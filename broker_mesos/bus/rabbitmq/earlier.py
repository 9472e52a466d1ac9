"""Finds and deletes the exchanges and queues that an earlier release has declared with other arguments.

They would be refused as a conflict by every process of this release. It works on one connection of its own, since a
bus declares the exchanges when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from broker_mesos.bus.rabbitmq.server import DEFAULT_TIMEOUTS, Server
from broker_mesos.bus.topology import QueueSpec, Topology
from broker_mesos.core.protocol.addresses import Queue
from broker_mesos.runtime.tls import NO_FILES, TlsFiles

HEARTBEAT_SECONDS = 30
_NOT_FOUND, _LOCKED, _DIFFERENT = 404, 405, 406


class Earlier(NamedTuple):
    """An exchange or queue with the arguments of an earlier release."""

    kind: Literal["exchange", "queue"]
    name: str
    messages: int = 0
    """Number of messages in a queue, which are lost with it."""


class Found(NamedTuple):
    """What is on the broker."""

    earlier: list[Earlier]
    used: list[str]
    """Names of queues, of this release or an earlier one, that have a consumer."""


class EarlierTopology:
    """A connection that looks for earlier exchanges and queues. All methods block, and raise BusUnavailable."""

    def __init__(self, url: str, topology: Topology, tls: TlsFiles = NO_FILES) -> None:
        """Raises InvalidInput for a URL or files that cannot be used."""
        self._server = Server(url, tls)
        self._topology = topology
        self._connection: Any = None

    def __enter__(self) -> Self:
        parameters = self._server.parameters("bmesos deploy reset-topology", HEARTBEAT_SECONDS, DEFAULT_TIMEOUTS)
        try:
            self._connection = pika.BlockingConnection(parameters)
        except (AMQPError, OSError) as error:
            raise self._server.error(error, connecting=True) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection.is_open:
            self._connection.close()

    def find(self, queues: Iterable[Queue]) -> Found:
        """Look for all exchanges, and for these queues."""
        found = Found([], [])
        for name, kind in self._topology.exchanges().items():
            if self._exists_as_other(name, kind):
                found.earlier.append(Earlier("exchange", name))
        for queue in queues:
            self._look(self._topology.queue_spec(queue), queue, found)
        return found

    def delete(self, earlier: Iterable[Earlier]) -> None:
        """Delete what ``find`` has found."""
        for each in earlier:
            with self._channel() as channel:
                if each.kind == "queue":
                    channel.queue_delete(each.name)
                else:
                    channel.exchange_delete(each.name)

    def _exists_as_other(self, name: str, kind: str) -> bool:
        if self._refusal(lambda channel: channel.exchange_declare(name, passive=True)) == _NOT_FOUND:
            return False
        return self._refusal(lambda channel: channel.exchange_declare(name, kind, durable=True)) == _DIFFERENT

    def _look(self, spec: QueueSpec, queue: Queue, found: Found) -> None:
        counts: list[Any] = []
        code = self._refusal(lambda channel: counts.append(channel.queue_declare(spec.name, passive=True).method))
        if code == _LOCKED:  # it is exclusive to a connection of this release
            found.used.append(spec.name)
        if code:
            return
        if counts[0].consumer_count:
            found.used.append(spec.name)
        if self._is_other(spec, queue):
            found.earlier.append(Earlier("queue", spec.name, counts[0].message_count))

    def _is_other(self, spec: QueueSpec, queue: Queue) -> bool:
        if spec.exclusive:
            return True  # a queue of this release would be locked
        # A framework's own queues have one of two sets of arguments, as it says.
        alternatives = (spec, self._topology.queue_spec(queue._replace(competing=not queue.competing)))
        return all(
            self._refusal(
                lambda channel, each=each: channel.queue_declare(each.name, durable=True, arguments=each.arguments)
            )
            == _DIFFERENT
            for each in alternatives
        )

    def _refusal(self, work: Any) -> int:
        """The code with which the broker refuses something; 0 if it does not. Raises Refused for other codes."""
        try:
            with self._channel() as channel:
                work(channel)
        except _Refusal as refusal:
            return refusal.code
        return 0

    def _channel(self) -> _Channel:
        return _Channel(self._connection, self._server)


class _Refusal(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Channel:
    """A channel for one request, since the broker closes it with a refusal."""

    def __init__(self, connection: Any, server: Server) -> None:
        self._connection = connection
        self._server = server

    def __enter__(self) -> Any:
        try:
            self._channel = self._connection.channel()
        except AMQPError as error:
            raise self._server.error(error) from None
        return self._channel

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ChannelClosedByBroker) and error.reply_code in (_NOT_FOUND, _LOCKED, _DIFFERENT):
            raise _Refusal(error.reply_code) from None
        if isinstance(error, AMQPError):
            raise self._server.error(error) from None
        if self._channel.is_open:
            self._channel.close()
