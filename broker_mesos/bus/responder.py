"""Answers the requests that arrive in one queue; see ``bus/requests.py``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from broker_mesos.bus.caller import Access, audit, caller_of, is_person
from broker_mesos.bus.current_caller import answering
from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.core.api.request import Answer, ErrorInfo, Request, answer_of
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Queue, reply
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import BrokerMesosError, BusUnavailable, Denied, InvalidMessage, WrongSender
from broker_mesos.ports.bus import Bus, Consumer, ConsumerClosed, Delivery, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.middleware import Middleware
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_CONCURRENT = 10_000
"""Maximum number of requests that one responder handles at once; more wait in the queue. Most of them only wait for
the end of a job or for more of a log."""

Handler = Callable[[Request], Awaitable[Part]]


def with_middleware(handler: Handler, middleware: Sequence[Middleware], clock: Clock) -> Handler:
    """A handler that calls the hooks of every middleware around the given one; the hooks after it run in the reverse
    order."""

    async def handle(request: Request) -> Part:
        started = clock.monotonic()
        error: BaseException | None = None
        try:
            for each in middleware:
                each.before_request(request)
            return await handler(request)
        except BaseException as raised:
            error = raised
            raise
        finally:
            for each in reversed(middleware):
                each.after_request(request, clock.monotonic() - started, error)

    return handle


class Responder:
    """Answers the requests of one queue, several at a time."""

    def __init__(
        self,
        bus: Bus,
        queue: Queue,
        handler: Handler,
        clock: Clock,
        new_id: NewId,
        middleware: Sequence[Middleware] = (),
        access: Access | None = None,
    ) -> None:
        """``access`` is the policy by which requests are refused; without one whoever may send them is answered."""
        if middleware:
            handler = with_middleware(handler, middleware, clock)
        self._bus = bus
        self._queue = queue
        self._handler = handler
        self._clock = clock
        self._new_id = new_id
        self._access = access
        self._tasks: set[asyncio.Task[None]] = set()
        self.consuming = asyncio.Event()
        """An event that is set while requests are received."""

    async def run(self) -> None:
        """Serve until cancelled."""
        consumer: Consumer | None = None
        try:
            while True:
                consumer = await self._bus.consume(self._queue, prefetch=MAX_CONCURRENT)
                self.consuming.set()
                try:
                    while True:
                        for delivery in await consumer.receive():
                            task = asyncio.create_task(self._serve(consumer, delivery))
                            self._tasks.add(task)
                            task.add_done_callback(self._tasks.discard)
                except ConsumerClosed:
                    self.consuming.clear()
                    await consumer.close()
        finally:
            self.consuming.clear()
            for task in list(self._tasks):
                task.cancel()
            if consumer is not None:
                await consumer.close()

    async def _serve(self, consumer: Consumer, delivery: Delivery) -> None:
        answer = await self._answer(delivery)
        if delivery.reply_to:
            message = outgoing(
                reply(delivery.reply_to),
                answer,
                self._new_id(),
                persistent=False,
                correlation_id=delivery.correlation_id,
            )
            if len(message.body) > MAX_BODY:
                large = f"the answer to {delivery.type} has {len(message.body)} bytes; request less at once"
                answer = Answer(error=ErrorInfo(code="invalid", message=large))
                message = replace(message, body=answer.encode())
            # A requester that has left gets no answer; it will send the request again.
            with contextlib.suppress(BusUnavailable):
                await self._bus.publish(message)
        consumer.acknowledge([delivery])

    async def _answer(self, delivery: Delivery) -> Answer:
        try:
            request = decode(delivery.type, delivery.body)
            if not isinstance(request, Request):
                raise InvalidMessage(f"{delivery.type} is not an operator request")
            self._bus.verify(delivery, request)
            answer = answer_of(await self._checked(delivery, request))
        except WrongSender as error:
            await self._park(delivery, str(error))
            answer = Answer(error=ErrorInfo.of(Denied(str(error))))
        except BrokerMesosError as error:
            answer = Answer(error=ErrorInfo.of(error))
        except Exception:
            log.exception("request failed", type=delivery.type)
            answer = Answer(error=ErrorInfo(message=f"{delivery.type} failed; see the daemon's log"))
        return answer

    async def _checked(self, delivery: Delivery, request: Request) -> Part:
        """Answer a request for the principal that has sent it, if that has the right to."""
        if self._access is None:
            return await self._handler(request)
        caller = caller_of(delivery, self._access)
        error: BaseException | None = None
        try:
            with answering(caller):
                if caller is not None:
                    caller.check(request)
                return await self._handler(request)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if is_person(delivery, self._access):
                audit(caller, request, error)

    async def _park(self, delivery: Delivery, reason: str) -> None:
        """Keep a request as a dead letter for operators. If that fails it is only logged: its sender has an answer."""
        dead = letter(delivery, self._queue, reason, tries=0, letter_id=self._new_id(), now=self._clock.time())
        with contextlib.suppress(BusUnavailable):
            await park(self._bus, dead)
