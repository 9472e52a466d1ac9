"""Requests and answers over the bus: one side sends a request with ``reply_to``, the other sends one answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from pydantic import ValidationError

from broker_mesos.bus.caller import PRINCIPAL_HEADER, Access, answering, audit, caller_of, current, is_person
from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.core.api.request import Answer, ErrorInfo, Request, answer_of
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Address, Queue, QueueKind, reply, reply_key
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import MAX_BODY, first_problem
from broker_mesos.errors import (
    BrokerMesosError,
    BusUnavailable,
    Denied,
    InvalidMessage,
    TimedOut,
    Unavailable,
    WrongSender,
)
from broker_mesos.ports.bus import Bus, Consumer, ConsumerClosed, Delivery, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.middleware import Middleware
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

log = get_logger(__name__)

MAX_CONCURRENT = 10_000
"""Maximum number of requests that one responder handles at once; more wait in the queue. Most of them only wait for
the end of a job or for more of a log."""


class Requester:
    """Sends requests and returns their answers. All requests share one reply queue."""

    def __init__(self, bus: Bus, clock: Clock, new_id: NewId) -> None:
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._reply_key = reply_key(bus.user, new_id())
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
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
        """Send a request, and return its answer, an instance of its ``ANSWER``.

        Raises the error that the daemon answers with, TimedOut after ``timeout`` seconds, or Unavailable when no
        daemon consumes that address or the bus is down.
        """
        await self.start()
        correlation = self._new_id()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = future
        try:
            async with within(timeout):
                await self._ready.wait()
                if not future.done():
                    await self._send(to, request, timeout, correlation)
                answer = await future
        except TimeoutError:
            raise self.late(f"no answer to {request.TYPE} from {to.key} within {timeout:g} s") from None
        finally:
            self._waiting.pop(correlation, None)
        if answer.error is not None:
            raise answer.error.exception()
        try:
            return request.ANSWER.model_validate(answer.data)
        except ValidationError as error:
            raise InvalidMessage(f"answer to {request.TYPE}: {first_problem(error)}") from None

    def late(self, what: str) -> Unavailable:
        """The error for an answer that did not arrive in time: the reason if the broker accepts no messages, else
        TimedOut with this text."""
        blocked_reason = self._bus.blocked_reason
        return Unavailable(blocked_reason) if blocked_reason else TimedOut(what)

    async def _send(self, to: Address, request: Request, timeout: float, correlation: str) -> None:
        message = outgoing(
            to,
            request,
            correlation,
            mandatory=True,
            persistent=False,
            expiration=timeout,
            reply_to=self._reply_key,
            correlation_id=correlation,
        )
        if (caller := current()) is not None:
            message = replace(message, headers={PRINCIPAL_HEADER: caller.name})
        if not await self._bus.publish(message):
            raise Unavailable(f"no daemon answers {request.TYPE} at {to.key}; check that it runs")

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
            answer = decode(delivery.type, delivery.body)
        except InvalidMessage as error:
            future.set_exception(error)
            return
        if isinstance(answer, Answer):
            future.set_result(answer)

    def _fail_all(self, reason: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusUnavailable(reason))
                future.exception()


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
