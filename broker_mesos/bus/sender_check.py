"""Checks the senders of messages for one process: refused ones are counted, and logged at a bounded rate."""

from __future__ import annotations

from collections import Counter

from broker_mesos.bus.topology import Topology
from broker_mesos.core.api.request import Request
from broker_mesos.core.protocol.senders import REQUESTS, RULES, check_sender
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import WrongSender
from broker_mesos.ports.bus import Delivery
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

LOG_INTERVAL_SECONDS = 10.0
"""Minimum time between two log lines about one user's messages, in seconds: anybody who may publish causes them."""
MAX_USERS_LOGGED = 100
"""Maximum number of users for which that time is kept."""


class SenderCheck:
    """The check of one process."""

    def __init__(self, topology: Topology, clock: Clock) -> None:
        self._topology = topology
        self._clock = clock
        self._logged: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        """The number of refused messages by type."""

    def check(self, delivery: Delivery, message: Message) -> None:
        """Check that a message came from a sender that it may have. Raises WrongSender."""
        rule = RULES.get(message.TYPE) or (REQUESTS if isinstance(message, Request) else None)
        try:
            if rule is None:
                raise WrongSender(f"{message.TYPE} is not sent by this way")
            check_sender(message, self._topology.exchange_named(delivery.exchange), delivery.sender, rule)
        except WrongSender as error:
            self.refused[message.TYPE] += 1
            self._log(delivery, str(error))
            raise

    def _log(self, delivery: Delivery, problem: str) -> None:
        now = self._clock.monotonic()
        if now - self._logged.get(delivery.user_id, float("-inf")) < LOG_INTERVAL_SECONDS:
            return
        if len(self._logged) >= MAX_USERS_LOGGED:
            self._logged.clear()
        self._logged[delivery.user_id] = now
        log.warning(
            "a message is refused, since its sender is not the one that it must have",
            problem=problem,
            user=delivery.user_id[:100],
            exchange=delivery.exchange,
            refused=self.refused.total(),
        )
