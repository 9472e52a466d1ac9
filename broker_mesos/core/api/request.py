"""Operator requests: the base class with what each request declares, the answer, and errors on the wire.

A request is a message with ``reply_to``; its answer is one ``ANSWER`` message with the same correlation id:
either ``data`` (decoded by the request's ``ANSWER`` class) or an ``error``. Requests change nothing when
repeated, or name the id that makes the repeat harmless.

Whatever must be known of a request stands in its class and nowhere else: the gateway, the HTTP server, the
daemons, the client and the generated documentation read it from there. ``catalog.py`` lists all requests.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from broker_mesos import errors
from broker_mesos.core.model.part import JsonObject, Part
from broker_mesos.core.protocol.wire import Message, register


class Route(StrEnum):
    """Which daemon answers a request."""

    GATEWAY = "gateway"
    """The gateway itself: it sends other requests and puts their answers together."""
    MASTER = "any master"
    CELL = "one cell"
    """The owner of the cell of the agent that ``agent_id`` names."""
    CELLS = "all cells"
    """The owners of all cells; the gateway puts their answers together."""
    FRAMEWORK = "framework"
    """The processes of a built-in framework, which the registry of those knows."""
    AGENT = "agent"


class ErrorInfo(Part):
    """An error on the wire. ``code`` is one of ``errors.BY_CODE``, or that of a newer release."""

    code: str = errors.BrokerMesosError.error_code
    message: str

    @classmethod
    def of(cls, error: errors.BrokerMesosError) -> ErrorInfo:
        """The wire form of an error."""
        return cls(code=error.error_code, message=str(error))

    def exception(self) -> errors.BrokerMesosError:
        """The error to raise where the answer arrives."""
        return errors.BY_CODE.get(self.code, errors.BrokerMesosError)(self.message)


@register
class Answer(Message):
    """The answer to any request."""

    TYPE = "ANSWER"
    error: ErrorInfo | None = None
    data: JsonObject = Field(default_factory=dict)


class Request(Message):
    """An operator request. Its class declares the following."""

    ANSWER: ClassVar[type[Part]] = Part
    ROUTE: ClassVar[Route]
    """Which daemon answers it."""
    FOR_USERS: ClassVar[bool] = False
    """Whether users may send it to the gateway, over HTTP or RabbitMQ. Otherwise only daemons send it."""
    RIGHT: ClassVar[str] = ""
    """The right that a user needs to send it. Empty: whoever reaches the gateway may send it."""

    @property
    def wait_seconds(self) -> float:
        """Seconds for which this request asks its answer to be held back, at most. Time limits are on top."""
        return 0.0


def answer_of(part: Part) -> Answer:
    """A successful answer."""
    data: dict[str, Any] = part.model_dump(mode="json")
    return Answer(data=data)
