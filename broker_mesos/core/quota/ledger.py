"""The ledger of limits: of each role's limit, the part that every cell may give away.

It is kept where all masters reach it, a hash per role with a field per cell. A cell writes its own field
only, and raises it only as far as the sum over all fields stays within the limit; since the fields are
compared when the new one is set, two cells can never raise into the same room. Before a cell gives anything
away it has raised, and it lowers only after it has released: so what is held never exceeds the limit.

Nobody raises until every cell has said what it holds. What was said under an earlier limit (of other
resources, or before the limit was cleared for a while) does not count as said: ``since`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from pydantic import Field, ValidationError

from broker_mesos.core.model.part import Part

Amounts = Mapping[str, int]
"""Thousandths by name."""


class EscrowAsk(NamedTuple):
    """What a cell asks of the ledger for one role. Amounts are absolute."""

    role: str
    held: Amounts
    """A fact: offered and in use in this cell, of what the limit names."""
    wanted: Amounts
    """At least what is held. Less than before gives back."""
    limit: Amounts
    since: int
    """RoleSettings.since of the limit."""
    version: int
    """Of the config that the limit is from; under a later one nothing is raised."""

    def without_raise(self) -> EscrowAsk:
        """The same, but content with what it has."""
        return self._replace(limit={})


class Entry(Part):
    """One cell's field."""

    term: int = 0
    number: int = 0
    """Counts up with each write, so that one that was delayed on its way cannot be mistaken for a new one."""
    since: int = 0
    amounts: dict[str, int] = Field(default_factory=dict)


class Settled(NamedTuple):
    """What the ledger makes of an ask."""

    entry: Entry
    raised: bool
    """It rests on what the others have."""


def ledger_key(role: str) -> str:
    """Name of a role's hash: no two roles share one, and no character in it means anything elsewhere."""
    return f"ledger:{quote(role, safe='')}"


def settle(ask: EscrowAsk, cell: int, cells: int, term: int, stored: Mapping[str, str]) -> Settled | None:
    """The cell's new field, given all that are stored; None if a later owner of the cell has written it."""
    own = read(stored.get(str(cell)))
    if own.term > term:
        return None
    before: Amounts = own.amounts if (own.term, own.since) == (term, ask.since) else {}
    others = [read(stored.get(str(other))) for other in range(cells) if other != cell]
    told = all(each.since == ask.since for each in others)
    raised = False
    amounts = {}
    for name, wanted in ask.wanted.items():
        least = max(ask.held.get(name, 0), min(wanted, before.get(name, 0)))
        rest = ask.limit.get(name, 0) - sum(each.amounts.get(name, 0) for each in others) if told else 0
        amounts[name] = max(least, min(wanted, rest))
        raised = raised or amounts[name] > least
    unchanged = own.amounts == amounts and (own.term, own.since) == (term, ask.since)
    number = own.number if unchanged else own.number + 1
    return Settled(Entry(term=term, number=number, since=ask.since, amounts=amounts), raised)


def read(text: str | None) -> Entry:
    """A field; one that is absent, or no entry at all, is a cell that has not said anything."""
    if text is not None:
        try:
            return Entry.model_validate_json(text)
        except ValidationError:
            pass
    return Entry()
