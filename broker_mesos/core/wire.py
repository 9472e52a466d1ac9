"""How anything is written down: immutable parts with a JSON form, and messages, known by their type."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from broker_mesos.errors import InvalidMessage, UnknownMessage

MAX_BODY = 1 << 20
"""Largest body in bytes; a longer one is refused by senders and dead-lettered by receivers."""

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Ident = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id of an agent, framework, job or process: at most 128 characters, safe as a file and queue name."""
_IDENT = re.compile(ID_PATTERN)


def is_ident(text: str) -> bool:
    """Whether something can be an ``Ident``."""
    return _IDENT.fullmatch(text) is not None


TaskId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]
Short = Annotated[str, StringConstraints(max_length=255)]
Prose = Annotated[str, StringConstraints(max_length=16_384)]
"""Bounded, since a batch of 500 statuses becomes one message."""
MAX_FLOOR = 2**52
"""Terms stay below it: the store compares them as doubles."""


class Part(BaseModel):
    """A value inside messages and records: immutable, tolerant of fields it does not know."""

    # Infinity and NaN have no JSON: what is stored with one of them could not be read again.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)

    def encode(self) -> bytes:
        """As JSON; what has its default value is left out."""
        encoded: bytes = self.__pydantic_serializer__.to_json(self, exclude_defaults=True)
        return encoded


class Message(Part):
    """A whole body on the wire."""

    TYPE: ClassVar[str] = ""


M = TypeVar("M", bound=Message)

REGISTRY: dict[str, type[Message]] = {}
"""Message classes by their AMQP ``type``."""


def register(cls: type[M]) -> type[M]:
    """Class decorator: makes a message type known to ``decode``."""
    REGISTRY[cls.TYPE] = cls
    return cls


def decode(type_name: str, body: bytes) -> Message:
    """The message in a body.

    Raises InvalidMessage, in one line, for an unknown type (then UnknownMessage), an oversized body, or one
    that does not fit.
    """
    cls = REGISTRY.get(type_name)
    if cls is None:
        raise UnknownMessage(f"unknown message type {type_name[:64]!r}")
    if len(body) > MAX_BODY:
        raise InvalidMessage(f"{type_name}: a body of {len(body)} bytes; at most {MAX_BODY} are allowed")
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise InvalidMessage(f"{type_name}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first finding of a pydantic error in one line: ``tasks.0.resources: …``."""
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in finding["loc"])
    what = str(finding["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


JsonObject = dict[str, Any]
