"""The base class of messages, and the registry of their types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from broker_mesos.core.model.part import ID_TAIL, Part
from broker_mesos.core.protocol.envelope import MAX_BODY as MAX_BODY


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


_MUST = {
    "missing": "missing",
    "int_parsing": "write a whole number",
    "int_parsing_size": "write a smaller whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "finite_number": "write a finite number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text",
    "string_sub_type": "write text",
    "string_unicode": "write UTF-8 text",
    "string_too_short": "write at least {min_length} characters",
    "string_too_long": "write at most {max_length} characters",
    "string_pattern_mismatch": "this text has another form than it must have",
    "bytes_type": "write text",
    "enum": "write {expected}",
    "literal_error": "write {expected}",
    "greater_than": "write more than {gt}",
    "greater_than_equal": "write at least {ge}",
    "less_than": "write less than {lt}",
    "less_than_equal": "write at most {le}",
    "multiple_of": "write a multiple of {multiple_of}",
    "too_short": "give at least {min_length} of them",
    "too_long": "give at most {max_length} of them",
    "none_required": "leave it out",
    "list_type": "write a list",
    "tuple_type": "write a list",
    "set_type": "write a list",
    "frozen_set_type": "write a list",
    "iterable_type": "write a list",
    "dict_type": "write a table of keys and values",
    "mapping_type": "write a table of keys and values",
    "model_type": "write a table of keys and values",
    "model_attributes_type": "write a table of keys and values",
    "dataclass_type": "write a table of keys and values",
    "extra_forbidden": "there is no such key",
    "frozen_instance": "this cannot be changed",
    "frozen_field": "this cannot be changed",
    "union_tag_invalid": "write {expected_tags} as {discriminator}",
    "union_tag_not_found": "give {discriminator}",
    "json_invalid": "this is not JSON",
    "json_type": "write JSON text",
    "recursion_loop": "this contains itself",
    "timezone_aware": "write the time with its zone, as 2030-01-01T00:00:00Z",
    "datetime_type": "write a time with its zone, as 2030-01-01T00:00:00Z",
    "datetime_from_date_parsing": "write a time with its zone, as 2030-01-01T00:00:00Z",
    "url_parsing": "this is not a URL",
    "url_type": "write a URL",
}
"""Texts that replace the error messages of pydantic, by the type of the error; fields in braces are those of its
context."""

MAX_KEY_SHOWN = 100
"""The longest part of a key that an error contains, in characters: keys come from outside as well."""

_OTHERWISE = "this value cannot be used"
"""Of findings that none of our models leads to."""

_OURS = ("value_error", "assertion_error")
"""Types of the findings of our own checks, whose text is ours already."""

_ID_PATTERN = re.compile(re.escape(ID_TAIL) + r"(\d+)\}\$")


def first_problem(error: ValidationError) -> str:
    """The first finding of a pydantic error in one line of our own words: ``tasks.0.resources: …``."""
    finding = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:MAX_KEY_SHOWN] for part in finding["loc"])
    what = wording(finding["type"], finding.get("ctx", {}), str(finding["msg"]))
    return f"{where}: {what}" if where else what


def wording(kind: str, context: Mapping[str, Any], message: str = "") -> str:
    """What a finding of this type means for whoever wrote the value. ``message`` is used of our own checks only."""
    if kind in _OURS:
        return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if (ident := _ID_PATTERN.search(str(context.get("pattern", "")))) is not None:
        return f"write 1 to {int(ident[1]) + 1} letters, digits, '.', '_' or '-', a letter or digit first"
    try:
        return _MUST.get(kind, _OTHERWISE).format_map(context)
    except (KeyError, ValueError):
        return _OTHERWISE
