"""The base class of messages, and the registry of their types."""

from __future__ import annotations

import re
from typing import ClassVar, TypeVar

from pydantic import ValidationError

from broker_mesos.core.model.part import ID_TAIL, Part

MAX_BODY = 1 << 20
"""The largest body, in bytes. A larger one is refused by senders and becomes a dead letter at receivers."""


class Message(Part):
    """The base class of all message bodies."""

    TYPE: ClassVar[str] = ""


M = TypeVar("M", bound=Message)


REGISTRY: dict[str, type[Message]] = {}
"""Message classes by their AMQP ``type``."""


def register(cls: type[M]) -> type[M]:
    """Class decorator that registers a message type, so that ``decode`` finds it."""
    REGISTRY[cls.TYPE] = cls
    return cls


_SAID = {
    "missing": "missing",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text",
}
"""Texts that replace the error messages of pydantic which users see, by the type of the error."""


_ID_PATTERN = re.compile(re.escape(ID_TAIL) + r"(\d+)\}\$")


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line, such as ``tasks.0.resources: …``."""
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in finding["loc"])
    what = _SAID.get(finding["type"]) or str(finding["msg"]).removeprefix("Value error, ")
    if (ident := _ID_PATTERN.search(what)) is not None:
        most = int(ident[1]) + 1
        what = f"write 1 to {most} letters, digits, '.', '_' or '-', a letter or digit first"
    return f"{where}: {what}" if where else what
