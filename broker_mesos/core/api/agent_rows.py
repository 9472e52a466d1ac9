"""The rows of a table of agents: filtered, sorted, and turned into columns and back. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from broker_mesos.core.api.agent_table import SORTS, STATE_NAMES, AgentTable, Number
from broker_mesos.errors import InvalidInput

T = TypeVar("T")

THOUSAND = 1000
FULL_SHARE = 255
"""The share of an agent with a resource that is wholly in use."""
_NO_HEARTBEAT = 1e12
"""The place of agents without a message in a list that is sorted by the time since the last one, in seconds."""

_TOKEN: TypeAdapter[dict[int, tuple[int, int]]] = TypeAdapter(dict[int, tuple[int, int]])
_CURSOR: TypeAdapter[tuple[str, float | str, str]] = TypeAdapter(tuple[str, float | str, str])


class Row(NamedTuple):
    """An agent of a table. Amounts are in thousandths."""

    agent_id: str
    host: str
    cell: int
    state: int
    tasks: int
    total: Mapping[str, int]
    used: Mapping[str, int]
    offered: Mapping[str, int]
    attributes: Mapping[str, str]
    heartbeat_age: float | None
    """Time since its last message, in seconds; None if there was none."""

    @property
    def share(self) -> int:
        """The largest part of a resource that is used or offered, from 0 to FULL_SHARE."""
        return round(FULL_SHARE * max((self.part(name) for name in self.total), default=0.0))

    def part(self, name: str) -> float:
        """The part of a resource that is used or offered, from 0 to 1; 0 if the agent has none of it."""
        total = self.total.get(name, 0)
        taken = self.used.get(name, 0) + self.offered.get(name, 0)
        return min(1.0, taken / total) if total > 0 else 0.0


def number(thousandths: int) -> Number:
    """An amount as a number."""
    return thousandths // THOUSAND if thousandths % THOUSAND == 0 else thousandths / THOUSAND


# -- filter and order -----------------------------------------------------------------------------------


def parse_filter(text: str) -> Callable[[Row], bool]:
    """The condition that a filter describes. Raises InvalidInput."""
    conditions = [_condition(word) for word in text.split()]
    return lambda row: all(is_met(row) for is_met in conditions)


def _condition(word: str) -> Callable[[Row], bool]:
    for operator in ("!=", "="):
        name, found, value = word.partition(operator)
        if found:
            equal = operator == "="
            if name == "state" and value in STATE_NAMES:
                state = STATE_NAMES.index(value)
                return lambda row: (row.state == state) is equal
            if name == "cell" and value.isascii() and value.isdecimal() and len(value) < 10:
                cell = int(value)
                return lambda row: (row.cell == cell) is equal
            raise InvalidInput(
                f"filter {word[:80]!r}: write state=STATE with one of {', '.join(STATE_NAMES)}, cell=NUMBER, "
                "NAME:VALUE for an attribute, or a part of an id"
            )
    name, found, value = word.partition(":")
    if found:
        return lambda row: row.attributes.get(name) == value
    low = word.lower()
    return lambda row: low in row.agent_id.lower() or low in row.host.lower()


def sort_key(sort: str) -> Callable[[Row], tuple[float | str, str]]:
    """The key by which a table is sorted; the id makes it unique. Raises InvalidInput."""
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise InvalidInput(f"sort {sort[:40]!r}: write one of {', '.join(SORTS)}, or -NAME for the reverse order")
    if name == "host":
        if sort.startswith("-"):
            raise InvalidInput("sort '-host': the list of hosts has one order only; write host")
        return lambda row: (row.host, row.agent_id)
    sign = -1.0 if sort.startswith("-") else 1.0
    return lambda row: (sign * _value(row, name), row.agent_id)


def _value(row: Row, name: str) -> float:
    match name:
        case "tasks":
            return row.tasks
        case "state":
            return row.state
        case "heartbeat":
            return _NO_HEARTBEAT if row.heartbeat_age is None else row.heartbeat_age
    return row.part(name)


def encode_cursor(sort: str, row: Row) -> str:
    """The cursor for the page that follows a row."""
    return _text(_CURSOR.dump_json((sort, *sort_key(sort)(row))))


def decode_cursor(sort: str, cursor: str) -> tuple[float | str, str] | None:
    """The sort key in a cursor; None if there is no cursor. Raises InvalidInput."""
    if not cursor:
        return None
    found = _read(_CURSOR, cursor)
    if found is None or found[0] != sort or isinstance(found[1], str) is not (sort == "host"):
        raise InvalidInput("after is not a cursor of this table: give the one of the page before, or none")
    return found[1], found[2]


def encode_token(since: Mapping[int, tuple[int, int]]) -> str:
    """The token for the term and the change number that a reader knows of each cell."""
    return _text(_TOKEN.dump_json(dict(since)))


def decode_token(token: str) -> dict[int, tuple[int, int]]:
    """The term and the change number by cell in a token; empty if there is no token. Raises InvalidInput."""
    if not token:
        return {}
    found = _read(_TOKEN, token)
    if found is None:
        raise InvalidInput("changed_since is not a token: give that of the answer before, or none to begin anew")
    return found


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _read(kind: TypeAdapter[T], text: str) -> T | None:
    try:
        return kind.validate_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, ValidationError):
        return None


# -- columns --------------------------------------------------------------------------------------------


def columns(rows: Iterable[Row]) -> dict[str, Any]:
    """The fields of an AgentTable with these rows."""
    rows = list(rows)
    kinds: dict[tuple[tuple[str, int], ...], int] = {}
    sets: dict[tuple[tuple[str, str], ...], int] = {}
    return {
        "ids": [row.agent_id for row in rows],
        "hosts": ["" if row.host == row.agent_id else row.host for row in rows],
        "states": [row.state for row in rows],
        "shares": [row.share for row in rows],
        "tasks": [row.tasks for row in rows],
        "kind": [kinds.setdefault(tuple(row.total.items()), len(kinds)) for row in rows],
        "kinds": [{name: number(amount) for name, amount in kind} for kind in kinds],
        "attributes": [sets.setdefault(tuple(row.attributes.items()), len(sets)) for row in rows],
        "attribute_sets": [dict(each) for each in sets],
        "used": _amounts([row.used for row in rows]),
        "offered": _amounts([row.offered for row in rows]),
        "heartbeat_ages": [row.heartbeat_age for row in rows],
    }


def _amounts(rows: list[Mapping[str, int]]) -> dict[str, list[Number]]:
    names = sorted({name for row in rows for name, amount in row.items() if amount})
    return {name: [number(row.get(name, 0)) for row in rows] for name in names}


def rows_of(table: AgentTable, cell: int) -> list[Row]:
    """The rows of the table of a cell. Raises InvalidInput if its columns do not fit together."""
    try:
        totals = [_thousandths(kind) for kind in table.kinds]
        used = list(_by_row(table.used, len(table.ids)))
        offered = list(_by_row(table.offered, len(table.ids)))
        return [
            Row(
                ident,
                table.hosts[at] or ident,
                cell,
                table.states[at],
                table.tasks[at],
                totals[table.kind[at]],
                used[at],
                offered[at],
                table.attribute_sets[table.attributes[at]],
                table.heartbeat_ages[at],
            )
            for at, ident in enumerate(table.ids)
        ]
    except IndexError:
        raise InvalidInput(f"the table of cell {cell} has columns of different lengths") from None


def _thousandths(amounts: Mapping[str, Number]) -> dict[str, int]:
    return {name: round(amount * THOUSAND) for name, amount in amounts.items()}


def _by_row(amounts: Mapping[str, list[Number]], count: int) -> Iterable[dict[str, int]]:
    return (
        {name: round(column[at] * THOUSAND) for name, column in amounts.items() if column[at]} for at in range(count)
    )
