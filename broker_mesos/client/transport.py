"""The interface that the transports over HTTP and over RabbitMQ share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from broker_mesos.errors import Unavailable

TIMEOUT_HEADER = "Bmesos-Timeout"
CLUSTER_HEADER = "Bmesos-Cluster"
"""Seconds the client waits for an answer, beyond what its request itself asks to wait for."""
REQUEST_MAX_BYTES = 1 << 20
"""As ``core.protocol.wire.MAX_BODY``, which comes with all models."""

ANSWER_MARGIN_SECONDS = 1.0
"""Seconds that the far end gets to answer that time is up, before we give up on it."""
NEXT_STEP = "start a cluster with `bmesos local`, or name one with --url or BMESOS_URL"


class Unreachable(Unavailable):
    """There was no connection at all: nothing listens there, or the host is not known."""


class Transport(Protocol):
    """Sends a request and returns the answer; safe to use from several threads."""

    def call(self, kind: str, fields: Mapping[str, Any], timeout: float, held: float) -> Any:
        """The ``data`` of the answer to a request of this ``TYPE``, within ``timeout`` seconds beyond the
        ``held`` ones for which the request itself asks the answer to be held back. Raises the errors of
        ``broker_mesos.errors``."""
        ...

    def close(self) -> None:
        """Close all connections. Idempotent."""
        ...
