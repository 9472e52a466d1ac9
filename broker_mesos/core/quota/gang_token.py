"""The gang token: the one gang of the cluster that gathers room at a time.

A gang that finds no room at one moment, since others take every part of it that becomes free, gets the token
for a while. Meanwhile every cell keeps for it what fits it. Since only one gang gathers, no two can each hold
what the other one lacks; since the token ends, the next one has its turn.

The record is kept where all masters reach it, and changed by compare-and-set. With a single cell it lives in
the cell's memory: a new owner begins with a free token.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from broker_mesos.core.model.part import Part

MAX_SERVED = 200
"""Gangs that are remembered for having had the token."""

GangKey = tuple[str, str]
"""Framework id and name of the gang."""


class GangToken(Part):
    """The gang that gathers room. It has no time in it: each cell measures by its own monotonic clock for how
    long it has known of it, since the calendars of two owners need not agree."""

    framework_id: str
    gang: str
    number: int = 0
    """Counts the gangs that have had the token, so that two turns of one gang differ."""
    version: int = 0
    """Of the demand that wanted the gang when the token was given."""

    @property
    def key(self) -> GangKey:
        """Which gang it is."""
        return self.framework_id, self.gang


class TokenRecord(Part):
    """As it is stored."""

    holder: GangToken | None = None
    number: int = 0
    """That of the latest holder."""
    served: tuple[GangKey, ...] = ()
    """Who has had it, the latest last."""


class GangWish(NamedTuple):
    """A gang that waits for room."""

    key: GangKey
    version: int


class TokenAsk(NamedTuple):
    """What a cell wants of the token."""

    wishes: tuple[GangWish, ...]
    """Gangs that it sees waiting, the one that has waited longest first."""
    done: GangToken | None
    """The holder, as this cell knows it, needs it no more, or has had it for as long as one gang may."""


def turn(record: TokenRecord, ask: TokenAsk) -> TokenRecord:
    """The record after a cell has asked: whoever has the token keeps it until a cell reports that it is done;
    then it goes to the gang that has never had it, or not for the longest time."""
    holder = record.holder
    if holder is not None and holder != ask.done:
        return record
    if not ask.wishes:
        return record.model_copy(update={"holder": None}) if holder is not None else record
    last = {key: at for at, key in enumerate(record.served)}
    chosen = min(ask.wishes, key=lambda wish: last.get(wish.key, -1))
    served = (*(key for key in record.served if key != chosen.key), chosen.key)
    framework_id, gang = chosen.key
    number = record.number + 1
    token = GangToken(framework_id=framework_id, gang=gang, number=number, version=chosen.version)
    return TokenRecord(holder=token, number=number, served=served[-MAX_SERVED:])


def read(text: str | None) -> TokenRecord:
    """A record; one that is absent or cannot be read is a free token."""
    if text is not None:
        try:
            return TokenRecord.model_validate_json(text)
        except ValidationError:
            pass
    return TokenRecord()
