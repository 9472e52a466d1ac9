"""Attributes of agents (``rack:r1;zone:eu-1``), and constraints on them (``rack!=r1``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, cast, final

from pydantic_core import core_schema

from broker_mesos.core.model.bounded_regex import compile_pattern
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

Attributes = dict[str, str]
"""Values of attributes by name. All values are text: the value of ``slots:4`` is the text ``4``."""

Operator = Literal["==", "!=", "~=", "!~", "exists", "absent"]

HOSTNAME: Final = "hostname"
"""Name of the attribute that every agent has without being configured."""
AGENT: Final = "agent"
"""Name of the attribute whose value is the agent's id. Agents of one machine have the same hostname."""
MAX_VALUE: Final = 256
"""The longest value of an attribute or constraint, in characters."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_CONSTRAINT = re.compile(r"(!?)\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:(==|!=|~=|!~)\s*(.*))?", re.DOTALL)
_FORMS: Final = "rack==r1, rack!=r1, rack~=r[0-9]+, rack!~r[0-9]+, rack or !rack"


def parse_attributes(text: str) -> Attributes:
    """Parse text such as ``rack:r1;zone:eu-1;slots:4``; the first colon of each part ends the name.
    Raises InvalidInput."""
    found: Attributes = {}
    for part in text.split(";"):
        part = part.strip()
        if not part:
            continue
        name, colon, value = part.partition(":")
        name = name.strip()
        if not colon:
            raise InvalidInput(f"{_show(part)} is not an attribute: write name:value, for instance rack:r1")
        if name in found:
            raise InvalidInput(f"attribute {name[:80]} is given twice: keep one")
        found[name] = value.strip()
    return check_attributes(found)


def check_attributes(attributes: Mapping[str, str]) -> Attributes:
    """Check attributes that come from a file or a message, and return a copy. Raises InvalidInput."""
    for name, value in attributes.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{_show(name)} is not an attribute's name: use a letter or _, "
                "then up to 63 letters, digits, '_', '.' or '-'"
            )
        if name in (HOSTNAME, AGENT):
            raise InvalidInput(f"attribute {name} is set by the agent itself: leave it out")
        if not isinstance(value, str) or ";" in value or value != value.strip() or not value.isprintable():
            raise InvalidInput(f"attribute {name}: {_show(value)} is not one line of text without ';'")
        if not 0 < len(value) <= MAX_VALUE:
            raise InvalidInput(f"attribute {name} has {len(value)} characters: give 1 to {MAX_VALUE}")
    return dict(attributes)


def attributes_text(attributes: Mapping[str, str]) -> str:
    """The attributes as text that :func:`parse_attributes` reads, sorted by name."""
    return ";".join(f"{name}:{value}" for name, value in sorted(attributes.items()))


def attribute_of(name: str, attributes: Mapping[str, str], hostname: str, agent_id: str) -> str | None:
    """The value of an attribute of an agent, or its hostname or id; None if it does not have the attribute."""
    if name == HOSTNAME:
        return hostname
    return agent_id if name == AGENT else attributes.get(name)


def check_attribute_name(name: str) -> str:
    """Return the name of an attribute unchanged. Raises InvalidInput if it cannot be one."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{_show(name)} is not an attribute's name: use a letter or _, then up to 63 letters, digits, '_', '.' "
            "or '-', as in rack, hostname or agent"
        )
    return name


@final
class Constraint:
    """One condition on an agent's attributes, its hostname or its id (``agent``): an immutable value, written as text.

    The forms are ``rack==r1``, ``rack!=r1``, ``rack~=r[0-9]+`` and ``rack!~r[0-9]+`` (the pattern has to match
    the whole value, see :mod:`broker_mesos.core.model.bounded_regex`), ``rack`` (the attribute is set) and
    ``!rack`` (it is not set). ``!=`` and ``!~`` are the negations of ``==`` and ``~=``, so that an agent
    without the attribute satisfies them.
    """

    __slots__ = ("_is_plain", "_name", "_operator", "_value")

    def __init__(self, name: str, operator: Operator, value: str = "") -> None:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{_show(name)} is not an attribute's name: constraints look like {_FORMS}")
        if operator in ("exists", "absent"):
            if value:
                raise InvalidInput(f"a constraint that {name} {operator} takes no value: drop {_show(value)}")
        elif not 0 < len(value) <= MAX_VALUE:
            raise InvalidInput(
                f"constraint {name}{operator}: the value has {len(value)} characters: give 1 to {MAX_VALUE}"
            )
        elif value != value.strip() or not value.isprintable():
            raise InvalidInput(f"constraint {name}{operator}: {_show(value)} is not one line of text")
        if operator in ("~=", "!~"):
            try:
                compile_pattern(value)
            except InvalidInput as error:
                raise InvalidInput(f"constraint {name}{operator}: {error}") from error
        self._name = name
        self._is_plain = name not in (HOSTNAME, AGENT)
        self._operator: Operator = operator
        self._value = value

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Parse one of the six text forms. Raises InvalidInput if it is none of them, or its pattern is invalid."""
        if not isinstance(text, str):
            raise InvalidInput(f"a constraint is text such as {_FORMS}, not {type(text).__name__}")
        if len(text) > 2 * MAX_VALUE:
            raise InvalidInput(f"a constraint of {len(text)} characters: write at most {2 * MAX_VALUE}")
        return _parse(text)

    @property
    def name(self) -> str:
        """Name of the attribute that is compared, or ``hostname`` or ``agent``."""
        return self._name

    @property
    def operator(self) -> Operator:
        """The comparison: one of ``== != ~= !~ exists absent``."""
        return self._operator

    @property
    def value(self) -> str:
        """The text or pattern that the attribute is compared with; empty for ``exists`` and ``absent``."""
        return self._value

    def matches(self, attributes: Mapping[str, str], hostname: str, agent_id: str) -> bool:
        """Whether an agent with these attributes, this hostname and this id satisfies the constraint."""
        name = self._name
        # Not through a function: a round compares constraints with very many agents.
        actual = attributes.get(name) if self._is_plain else attribute_of(name, attributes, hostname, agent_id)
        operator = self._operator
        if operator == "==":
            return actual == self._value
        if operator == "!=":
            return actual != self._value
        if operator == "exists":
            return actual is not None
        if operator == "absent":
            return actual is None
        found = actual is not None and _fullmatch(self._value, actual)
        return found if operator == "~=" else not found

    def explain(self, attributes: Mapping[str, str], hostname: str, agent_id: str) -> str | None:
        """Why an agent does not satisfy the constraint, such as ``rack is r2, wanted r1``; None if it does."""
        if self.matches(attributes, hostname, agent_id):
            return None
        name, actual = self._name, attribute_of(self._name, attributes, hostname, agent_id)
        if actual is None:
            wanted = {"==": f", wanted {self._value}", "~=": f", wanted one like {self._value}"}
            return f"{name} is not set{wanted.get(self._operator, '')}"
        return f"{name} is {actual}, wanted " + {
            "==": self._value,
            "!=": "any other",
            "~=": f"one like {self._value}",
            "!~": f"none like {self._value}",
        }.get(self._operator, "none")

    def __str__(self) -> str:
        if self._operator == "exists":
            return self._name
        return f"!{self._name}" if self._operator == "absent" else f"{self._name}{self._operator}{self._value}"

    def __repr__(self) -> str:
        return f"Constraint.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if type(other) is Constraint else NotImplemented

    def __hash__(self) -> int:
        return hash((self._name, self._operator, self._value))

    def __reduce__(self) -> tuple[Any, ...]:
        return Constraint, (self._name, self._operator, self._value)

    # In a pydantic model it is text on the wire; text and Constraint values are accepted.

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _coerce, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "title": "Constraint", "examples": ["rack==r1", "hostname~=gpu-[0-9]+"]}


def _coerce(value: Any) -> Constraint:
    return value if type(value) is Constraint else Constraint.parse(value)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Constraint:
    match = _CONSTRAINT.fullmatch(text.strip())
    if match is None or (match[1] and match[3]):
        raise InvalidInput(f"{_show(text)} is not a constraint: write {_FORMS}")
    absent, name, operator, value = match.groups()
    if operator is None:
        return Constraint(name, "absent" if absent else "exists")
    return Constraint(name, cast(Operator, operator), value)


@lru_cache(maxsize=16384)
def _fullmatch(pattern: str, text: str) -> bool:
    """Match with a cache, since a cell matches the same constraints against the same agents in every round."""
    return compile_pattern(pattern).fullmatch(text)


def _show(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 80 else text[:79] + "…")
