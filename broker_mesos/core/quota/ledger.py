"""The ledger of limits: the part of each role's limit that each cell may allocate.

The ledger is in the store, which all masters reach: one hash for each role, with one field for each cell. A cell
writes only its own field, and raises it only as far as the sum over all fields stays within the limit. The fields are
compared when the new one is set, so that two cells can never raise into the same remainder. A cell raises its field
before it allocates, and lowers it only after it has released, so that the allocated resources never exceed the limit.

No cell raises its field until every cell has reported what it holds. A report under an earlier limit (of other
resources, or before the limit was cleared for a while) does not count: ``since`` distinguishes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from pydantic import Field, ValidationError

from broker_mesos.core.model.part import Part

Amounts = Mapping[str, int]
"""Amounts of resources in thousandths, by name."""


class EscrowRequest(NamedTuple):
    """A cell's request to the ledger for one role. Amounts are absolute, not differences."""

    role: str
    held: Amounts
    """Amounts of the limited resources that are used and offered in this cell."""
    wanted: Amounts
    """The requested part of the limit: at least ``held``. The rest of an earlier, larger part is given back."""
    limit: Amounts
    since: int
    """RoleSettings.since of the limit."""
    version: int
    """Version of the config that contains the limit; under a later version nothing is raised."""

    def without_raise(self) -> EscrowRequest:
        """The same request without a raise: the cell keeps at most the part that it has."""
        return self._replace(limit={})


class Entry(Part):
    """One cell's field of a role's hash."""

    term: int = 0
    number: int = 0
    """It is incremented with each write, so that a delayed write cannot be mistaken for a new one."""
    since: int = 0
    amounts: dict[str, int] = Field(default_factory=dict)


class Settled(NamedTuple):
    """The result of a cell's request to the ledger."""

    entry: Entry
    raised: bool
    """Whether the cell's part was raised, so that the result depends on the fields of the other cells."""


def ledger_key(role: str) -> str:
    """Name of a role's hash in the store. Different roles have different names, and special characters are
    quoted."""
    return f"ledger:{quote(role, safe='')}"


def settle(request: EscrowRequest, cell: int, cells: int, term: int, stored: Mapping[str, str]) -> Settled | None:
    """Compute the cell's new field from all stored fields; None if a later owner of the cell has written the field."""
    own = read(stored.get(str(cell)))
    if own.term > term:
        return None
    before: Amounts = own.amounts if (own.term, own.since) == (term, request.since) else {}
    others = [read(stored.get(str(other))) for other in range(cells) if other != cell]
    all_reported = all(each.since == request.since for each in others)
    raised = False
    amounts = {}
    for name, wanted in request.wanted.items():
        least = max(request.held.get(name, 0), min(wanted, before.get(name, 0)))
        rest = request.limit.get(name, 0) - sum(each.amounts.get(name, 0) for each in others) if all_reported else 0
        amounts[name] = max(least, min(wanted, rest))
        raised = raised or amounts[name] > least
    unchanged = own.amounts == amounts and (own.term, own.since) == (term, request.since)
    number = own.number if unchanged else own.number + 1
    return Settled(Entry(term=term, number=number, since=request.since, amounts=amounts), raised)


def read(text: str | None) -> Entry:
    """Decode a field. A field that is absent or invalid counts as that of a cell that has not reported anything."""
    if text is not None:
        try:
            return Entry.model_validate_json(text)
        except ValidationError:
            pass
    return Entry()
