"""Sends requests over the bus, each with ``reply_to``, and returns their answers; ``bus/responder.py`` answers them.

Loads no models: a command that submits a job sends and receives JSON.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from broker_mesos.bus.current_caller import PRINCIPAL_HEADER, current
from broker_mesos.core.protocol.addresses import Address, Queue, QueueKind, reply_key
from broker_mesos.core.protocol.envelope import ANSWER_TYPE, MAX_BODY
from broker_mesos.errors import BrokerMesosError, BusUnavailable, InvalidMessage, TimedOut, Unavailable, error_of
from broker_mesos.ports.bus import Bus, Consumer, ConsumerClosed, Delivery, Outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

if TYPE_CHECKING:
    from broker_mesos.core.api.request import Request
    from broker_mesos.core.model.part import JsonObject, Part

log = get_logger(__name__)


class Requester:
    """Sends requests and returns their answers. All requests share one reply queue."""

    def __init__(self, bus: Bus, clock: Clock, new_id: NewId) -> None:
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._reply_key = reply_key(bus.user, new_id())
        self._waiting: dict[str, asyncio.Future[JsonObject]] = {}
        self._consumer: Consumer | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to consume answers, or start again after that has failed. Idempotent."""
        if self._task is None or self._task.done():
            self._ready.clear()
            self._task = asyncio.create_task(self._receive(), name="requester")

    async def close(self) -> None:
        """Stop. Requests under way end with Unavailable."""
        if self._task is not None:
            self._task.cancel()
            # The task is not awaited directly, since a cancellation of the caller would be mistaken for the task's.
            await asyncio.wait([self._task])
            self._task = None
        self._fail_all("this client was closed")

    async def request(self, to: Address, request: Request, timeout: float) -> Part:
        """Send a request, and return its answer, an instance of its ``ANSWER``; see :meth:`exchange`."""
        return request.answer(await self.exchange(to, request.TYPE, request.encode(), timeout))

    async def exchange(self, to: Address, kind: str, body: bytes, timeout: float) -> JsonObject:
        """Send a request of this type, given as JSON, and return the data of its answer.

        Raises the error that the daemon answers with, TimedOut after ``timeout`` seconds, or Unavailable when no
        daemon consumes that address or the bus is down.
        """
        await self.start()
        correlation = self._new_id()
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = future
        try:
            async with within(timeout):
                await self._ready.wait()
                if not future.done():
                    await self._send(to, kind, body, timeout, correlation)
                return await future
        except TimeoutError:
            raise self.late(f"no answer to {kind} from {to.key} within {timeout:g} s") from None
        finally:
            self._waiting.pop(correlation, None)

    def late(self, what: str) -> Unavailable:
        """The error for an answer that did not arrive in time: the reason if the broker accepts no messages, else
        TimedOut with this text."""
        blocked_reason = self._bus.blocked_reason
        return Unavailable(blocked_reason) if blocked_reason else TimedOut(what)

    async def _send(self, to: Address, kind: str, body: bytes, timeout: float, correlation: str) -> None:
        caller = current()
        message = Outgoing(
            to,
            kind,
            body,
            correlation,
            mandatory=True,
            persistent=False,
            expiration=timeout,
            reply_to=self._reply_key,
            correlation_id=correlation,
            headers={} if caller is None else {PRINCIPAL_HEADER: caller.name},
        )
        if not await self._bus.publish(message):
            raise Unavailable(f"no daemon answers {kind} at {to.key}; check that it runs")

    async def _receive(self) -> None:
        try:
            await self._receive_for_ever()
        except Exception as error:
            if not isinstance(error, BrokerMesosError):
                log.exception("answers cannot be received")
            # Requests that wait end with this error now; the next request tries again.
            self._fail_all(f"answers cannot be received: {error}")
            self._ready.set()

    async def _receive_for_ever(self) -> None:
        while True:
            self._consumer = await self._bus.consume(Queue(QueueKind.REPLY, self._reply_key))
            self._ready.set()
            try:
                while True:
                    deliveries = await self._consumer.receive()
                    self._consumer.acknowledge(deliveries)
                    for delivery in deliveries:
                        self._on_answer(delivery)
            except ConsumerClosed:
                self._ready.clear()
                # The reply queue ends with the connection, and so do the answers that are under way.
                self._fail_all("the connection to RabbitMQ was lost; try again")
            finally:
                await self._consumer.close()

    def _on_answer(self, delivery: Delivery) -> None:
        future = self._waiting.get(delivery.correlation_id)
        if future is None or future.done():
            return
        try:
            future.set_result(_data(delivery))
        except BrokerMesosError as error:
            future.set_exception(error)

    def _fail_all(self, reason: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusUnavailable(reason))
                future.exception()


def _data(delivery: Delivery) -> JsonObject:
    """The data of an answer, see ``core.api.request.Answer``. Raises the error that it has instead, and InvalidMessage
    if it is no answer."""
    if delivery.type == ANSWER_TYPE and len(delivery.body) <= MAX_BODY:
        try:
            content = json.loads(delivery.body)
            error = content.get("error")
            if error is None and isinstance(data := content.get("data", {}), dict):
                return data
            code, message = str(error.get("code", BrokerMesosError.error_code)), str(error["message"])
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            pass
        else:
            raise error_of(code, message)
    raise InvalidMessage(f"the answer has another form than answers have (type {delivery.type[:64]!r})")
