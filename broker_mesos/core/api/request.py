"""Operator requests: the base class, the answer, and errors on the wire.

A request is a message with ``reply_to``; its answer is one ``ANSWER`` message with the same correlation id:
either ``data`` (decoded by the request's ``ANSWER`` class) or an ``error``. Requests change nothing when
repeated, or name the id that makes the repeat harmless."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from broker_mesos import errors
from broker_mesos.core.model.part import JsonObject, Part
from broker_mesos.core.protocol.wire import Message, register

ErrorCode = Literal["invalid", "not_found", "conflict", "unavailable", "failed"]


_BY_CODE: dict[ErrorCode, type[errors.BrokerMesosError]] = {
    "invalid": errors.InvalidInput,
    "not_found": errors.NotFound,
    "conflict": errors.Conflict,
    "unavailable": errors.Unavailable,
    "failed": errors.BrokerMesosError,
}


class ErrorInfo(Part):
    """An error on the wire."""

    code: ErrorCode = "failed"
    message: str

    @classmethod
    def of(cls, error: errors.BrokerMesosError) -> ErrorInfo:
        """The wire form of an error."""
        for code, kind in _BY_CODE.items():
            if isinstance(error, kind):
                return cls(code=code, message=str(error))
        return cls(message=str(error))

    def exception(self) -> errors.BrokerMesosError:
        """The error to raise where the answer arrives."""
        return _BY_CODE[self.code](self.message)


@register
class Answer(Message):
    """The answer to any request."""

    TYPE = "ANSWER"
    error: ErrorInfo | None = None
    data: JsonObject = Field(default_factory=dict)


class Request(Message):
    """An operator request."""

    ANSWER: ClassVar[type[Part]] = Part


def answer_of(part: Part) -> Answer:
    """A successful answer."""
    data: dict[str, Any] = part.model_dump(mode="json")
    return Answer(data=data)
