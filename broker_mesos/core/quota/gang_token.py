"""The gang token: the right of one gang in the cluster to have free resources collected for it.

A gang that never finds room for all its tasks at the same time, since others take the resources that become free, gets
the token for a limited time. Meanwhile every cell keeps free resources that fit it. Since only one gang has the token,
no two gangs can each hold resources that the other one lacks; since the token expires, the next gang gets it.

The record is in the store, which all masters reach, and is changed by compare-and-set. With a single cell it is in the
memory of the cell: a new owner starts with a free token.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from broker_mesos.core.model.part import Part

MAX_SERVED = 200
"""The largest number of gangs that are recorded as having had the token."""

GangKey = tuple[str, str]
"""Identity of a gang: framework id and name of the gang."""


class GangToken(Part):
    """The gang that has the token. It contains no time: each cell measures with its own monotonic clock for how long it
    has known of the token, since the calendars of two owners need not agree."""

    framework_id: str
    gang: str
    number: int = 0
    """Number of times that the token was given, so that two turns of one gang differ."""
    version: int = 0
    """Version of the demand that contained the gang when the token was given."""

    @property
    def key(self) -> GangKey:
        """The identity of the gang."""
        return self.framework_id, self.gang


class TokenRecord(Part):
    """The record of the gang token in the store."""

    holder: GangToken | None = None
    number: int = 0
    """``GangToken.number`` of the latest holder."""
    served: tuple[GangKey, ...] = ()
    """Gangs that have had the token, the latest one last."""


class WaitingGang(NamedTuple):
    """A gang that waits for room."""

    key: GangKey
    version: int


class TokenRequest(NamedTuple):
    """The request of a cell for the gang token."""

    waiting: tuple[WaitingGang, ...]
    """Gangs that wait in this cell, the one that has waited longest first."""
    done: GangToken | None
    """The holder as this cell knows it, if it does not need the token any more or its time is over; else None."""


def turn(record: TokenRecord, request: TokenRequest) -> TokenRecord:
    """The record after a cell's request. The holder keeps the token until a cell reports that it is done; then the gang
    gets it that has never had it, or whose turn was the longest time ago."""
    holder = record.holder
    if holder is not None and holder != request.done:
        return record
    if not request.waiting:
        return record.model_copy(update={"holder": None}) if holder is not None else record
    last = {key: at for at, key in enumerate(record.served)}
    chosen = min(request.waiting, key=lambda gang: last.get(gang.key, -1))
    served = (*(key for key in record.served if key != chosen.key), chosen.key)
    framework_id, gang = chosen.key
    number = record.number + 1
    token = GangToken(framework_id=framework_id, gang=gang, number=number, version=chosen.version)
    return TokenRecord(holder=token, number=number, served=served[-MAX_SERVED:])


def read(text: str | None) -> TokenRecord:
    """Decode a record. A record that is absent or cannot be decoded is a free token."""
    if text is not None:
        try:
            return TokenRecord.model_validate_json(text)
        except ValidationError:
            pass
    return TokenRecord()
