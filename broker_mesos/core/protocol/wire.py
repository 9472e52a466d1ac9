"""Messages on the wire: the base class, the registry of types, and decoding."""

from __future__ import annotations

import re
from typing import ClassVar, TypeVar

from pydantic import ValidationError

from broker_mesos.core.model.part import ID_TAIL, Part

MAX_BODY = 1 << 20
"""Largest body in bytes; a longer one is refused by senders and dead-lettered by receivers."""


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
"""Our words for findings of pydantic that people meet."""


_ID_PATTERN = re.compile(re.escape(ID_TAIL) + r"(\d+)\}\$")


def first_problem(error: ValidationError) -> str:
    """The first finding of a pydantic error in one line: ``tasks.0.resources: …``."""
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in finding["loc"])
    what = _SAID.get(finding["type"]) or str(finding["msg"]).removeprefix("Value error, ")
    if (ident := _ID_PATTERN.search(what)) is not None:
        most = int(ident[1]) + 1
        what = f"write 1 to {most} letters, digits, '.', '_' or '-', a letter or digit first"
    return f"{where}: {what}" if where else what
