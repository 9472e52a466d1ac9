"""Hooks around the handling of messages and requests: for metrics, tracing and authorisation."""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.core.api.request import Request
from broker_mesos.ports.bus import Delivery


class Middleware:
    """Hooks that do nothing; a derived class overrides those that it needs. Hooks run on the event loop and
    must not block. Without any middleware nothing is called and no clock is read."""

    def before_request(self, request: Request) -> None:
        """Called before a daemon handles an operator request. An error of ``broker_mesos.errors`` raised here refuses
        the request and is its answer."""

    def after_request(self, request: Request, seconds: float, error: BaseException | None) -> None:
        """Called after an operator request was handled, or refused with ``error``; the duration is in seconds."""

    def before_decision(self, cell: int, deliveries: Sequence[Delivery]) -> None:
        """Called before a cell's owner decides on these messages of the cell's inbox, of which there may be none. It
        must not raise: that would end the term."""

    def after_decision(self, cell: int, deliveries: Sequence[Delivery], seconds: float) -> None:
        """Called after the decision on these messages was committed, acknowledged and published; the duration is in
        seconds."""
