"""A connection that reconnects by itself."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from broker_mesos.bus.rabbitmq import pika_patches
from broker_mesos.bus.rabbitmq.channel import Channel
from broker_mesos.bus.rabbitmq.server import AccessRefused, Refused, Server, Timeouts, Unreachable
from broker_mesos.bus.signals import Signal
from broker_mesos.bus.topology import Topology
from broker_mesos.errors import BusUnavailable, Conflict
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.timeouts import within

log = logging.getLogger(__name__)
# pika logs tracebacks for errors that this package reports as one line.
logging.getLogger("pika").setLevel(logging.CRITICAL)

FIRST_DELAY_SECONDS = 0.05
MAX_DELAY_SECONDS = 1.0
REFUSED_DELAY_SECONDS = 0.4
"""Upper bound of the pause between two attempts to connect to a port where no process listens, in seconds. It is
shorter than ``MAX_DELAY_SECONDS``, since a refused attempt costs little, and a restart of the broker interrupts work
for up to this time longer than it takes."""


class ExchangeRights:
    """Whether the user of a bus may declare exchanges, as far as is known. Agents, frameworks and clients need no such
    permission where masters declare the exchanges."""

    def __init__(self) -> None:
        self.passive = False

    def refused(self, error: Refused) -> bool:
        """Learn from a refused declaration; returns whether to check passively from now on."""
        if error.code != 403 or self.passive:
            return False
        self.passive = True
        return True


class Setting(NamedTuple):
    """The settings and objects that all parts of one bus share."""

    server: Server
    topology: Topology
    clock: Clock
    rng: random.Random
    name: str
    heartbeat: int
    timeouts: Timeouts
    arrived: Signal
    """A signal that fires when a connection of this bus was made: its other connection then tries again at once."""
    exchange_rights: ExchangeRights


class Link(ABC):
    """A connection that reconnects by itself, with jittered back-off, until it is stopped."""

    def __init__(self, setting: Setting, role: str) -> None:
        self.setting = setting
        self.server = setting.server
        self.timeouts = setting.timeouts
        self.up = False
        self.up_since = 0.0
        self.stopped = False
        self.changed = Signal()
        self.error: BusUnavailable | Conflict = BusUnavailable(f"{self.server.where}: the bus is not open")
        self.on_confirm: Callable[[Any], None] | None = None
        self.connection: Any  # an AsyncioConnection, of which the stubs know half
        self._role = role
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def set_up(self) -> None:
        """Open the channels of a new connection, before the link counts as up."""

    def went_down(self, reason: str) -> None:  # noqa: B027 - a hook that a derived class may leave out
        """Handle the loss of the connection, or the failure to set it up."""

    @abstractmethod
    def check(self) -> None:
        """Check the link; called every few seconds while it is up."""

    async def open_channel(self) -> Channel:
        """A fresh channel of the connection."""
        return await Channel.open(self.connection, self.server, self.timeouts)

    async def open_channel_with_exchanges(self) -> Channel:
        """A fresh channel, once the exchanges are declared, or found to exist if this user may not declare them."""
        rights = self.setting.exchange_rights
        channel = await self.open_channel()
        try:
            await channel.declare_exchanges(self.setting.topology, passive=rights.passive)
        except Refused as error:
            if not rights.refused(error):
                raise self._missing(error) if rights.passive else error from None
            channel = await self.open_channel()
            try:
                await channel.declare_exchanges(self.setting.topology, passive=True)
            except Refused as missing:
                raise self._missing(missing) from None
        return channel

    def _missing(self, error: Refused) -> BusUnavailable:
        """The error for an exchange that this user may not declare."""
        if error.code != 404:
            return error
        return BusUnavailable(
            f"{self.server.where}: the exchanges of this cluster do not exist, and the user {self.server.user!r} may "
            "not declare them: start a master, which does; if this is one, its user needs the rights that "
            "`bmesos deploy rabbitmq-definitions` prints"
        )

    def start(self) -> None:
        """Start to connect, and to reconnect whenever the connection ends."""
        if self._task is None:
            self.error = self.server.no_answer  # until a reason is known
            self._task = asyncio.create_task(self._run(), name=f"{self.setting.name} {self._role} connection")

    async def stop(self) -> None:
        """Disconnect in order, within the timeout for that."""
        self.stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.changed.fire()

    async def wait_up(self, *, impatient: bool = False) -> None:
        """Wait until the link is up. Raises BusUnavailable when it is stopped; with ``impatient`` also the error of
        an attempt that would fail again in the same way (credentials, vhost, exchanges of another type)."""
        while not self.up:
            if self.stopped:
                raise BusUnavailable(f"{self.server.where}: the bus was closed")
            if impatient and isinstance(self.error, AccessRefused | Conflict):
                raise self.error
            await self.changed.wait()

    def ensure_up(self) -> None:
        """Raise BusUnavailable, with the last reason, if the link is down."""
        if not self.up:
            raise BusUnavailable(str(self.error))

    async def _run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                closed = await self._connect()
                try:
                    await self.set_up()
                    self._mark_up()
                    await self._watch(closed)
                finally:
                    if self.up and self.setting.clock.monotonic() - self.up_since > MAX_DELAY_SECONDS:
                        delay = FIRST_DELAY_SECONDS
                    await self._disconnect(closed)
            except (BusUnavailable, Conflict) as error:
                self._mark_down(error)
            except asyncio.CancelledError:
                self._mark_down(BusUnavailable(f"{self.server.where}: the bus was closed"))
                raise
            except Exception as error:  # any error of pika: the link must survive it
                log.exception("%s: unexpected", self._role)
                self._mark_down(self.server.error(error))
            await self._pause(delay)
            delay = min(delay * 2, MAX_DELAY_SECONDS)

    async def _pause(self, delay: float) -> None:
        refused = isinstance(self.error, Unreachable)
        seconds = min(delay, REFUSED_DELAY_SECONDS) if refused else delay
        pause = asyncio.ensure_future(self.setting.clock.sleep(seconds * self.setting.rng.uniform(0.5, 1.0)))
        arrived = asyncio.ensure_future(self.setting.arrived.wait())
        try:
            # After an error of the server itself, another connection that was made does not show that it has
            # recovered.
            await asyncio.wait([pause, arrived] if refused else [pause], return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            arrived.cancel()

    async def _connect(self) -> asyncio.Future[BusUnavailable]:
        """Open a connection. Returns the future of its end."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        closed: asyncio.Future[BusUnavailable] = loop.create_future()

        def on_open(_: object) -> None:
            if not opened.done():
                opened.set_result(None)

        def on_end(_: object, error: BaseException) -> None:
            if not closed.done():
                closed.set_result(self.server.error(error, connecting=not opened.done()))
            if not opened.done():
                opened.set_exception(closed.result())

        self.connection = pika_patches.Connection(
            self.server.parameters(f"{self.setting.name} ({self._role})", self.setting.heartbeat, self.timeouts),
            on_open_callback=on_open,
            on_open_error_callback=on_end,
            on_close_callback=on_end,
            custom_ioloop=loop,
        )
        try:
            # pika has the same limit and ends with an error by itself; this one is for cases that pika misses.
            async with within(self.timeouts.handshake + 1):
                await opened
        except TimeoutError:
            await self._disconnect(closed)
            raise self.server.no_answer from None
        except BusUnavailable as error:
            await self._disconnect(closed)
            raise await self.server.explained(error) from None
        except BaseException:
            await self._disconnect(closed)
            raise
        pika_patches.speed_up(self.connection, loop, self.on_confirm)
        self.setting.arrived.fire()
        return closed

    async def _watch(self, closed: asyncio.Future[BusUnavailable]) -> None:
        """Wait until the connection ends. pika itself needs heartbeat + 5 s to notice that nothing is received."""
        limits = (self.timeouts.blocked / 4, self.timeouts.confirm / 4, self.timeouts.bindings / 2)
        interval = min(self.setting.heartbeat, *limits)
        last_received_at, received = self.setting.clock.monotonic(), -1
        while not closed.done():
            await asyncio.wait([closed], timeout=interval)
            self.check()
            now = self.setting.clock.monotonic()
            if self.connection.bytes_received != received:
                last_received_at, received = now, self.connection.bytes_received
            elif now - last_received_at > 3 * self.setting.heartbeat:
                self._terminate()
                raise BusUnavailable(f"{self.server.where}: nothing was received for {now - last_received_at:.0f} s")
        raise closed.result()

    async def _disconnect(self, closed: asyncio.Future[BusUnavailable]) -> None:
        if not closed.done() and not (self.connection.is_closing or self.connection.is_closed):
            self.connection.close()
            await asyncio.wait([closed], timeout=self.timeouts.close)
        if not closed.done():
            self._terminate()

    def _terminate(self) -> None:
        pika_patches.drop(self.connection)

    def _mark_up(self) -> None:
        self.up = True
        self.up_since = self.setting.clock.monotonic()
        log.info("%s: connected to %s", self._role, self.server.where)
        self.changed.fire()

    def _mark_down(self, error: BusUnavailable | Conflict) -> None:
        if not self.stopped and (self.up or str(error) != str(self.error)):
            log.warning("%s: %s", self._role, error)
        self.up = False
        self.error = error
        self.went_down(str(error))
        self.changed.fire()
