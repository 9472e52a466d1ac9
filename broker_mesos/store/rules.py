"""The rules that all adapters share: which arguments are refused, and the texts of errors."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from broker_mesos.core.protocol.envelope import MAX_TERM
from broker_mesos.core.protocol.records import RecordKind
from broker_mesos.errors import Fenced, InvalidInput, StoreLostData, StoreUnavailable
from broker_mesos.ports.store import Change, Check, Commit, FloorRefused

MAX_FLOOR_AHEAD_MS = 86_400_000
"""Maximum difference of a floor above the store's clock, in milliseconds. Terms are made from that clock, which may
be set back."""
MAX_INCREMENT = 10**15
"""Maximum absolute value of a counter: counters, too, are compared as doubles inside the scripts."""
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
"""The form of a counter's stored text."""
TRIES_TTL_SECONDS = 86_400
"""Time for which a cell's counts of tries are kept after the last try, in seconds."""
MAX_DELAY_SECONDS = 10**9
"""Largest distance of a ``zadd_after`` from the store's time, in seconds."""
CHANGES = ("hset", "hdel", "hincrby", "zadd", "zadd_after", "zadd_last", "zrem", "del")
MAX_CHANGES = 100_000
"""Largest number of checks and changes of one transaction: the script blocks the server for about 2 µs each."""


class Coalesced(NamedTuple):
    """The writes of a commit by kind; of each record only the last one."""

    sets: dict[RecordKind, dict[str, bytes]]
    deletes: dict[RecordKind, list[str]]


def coalesce(commit: Commit) -> Coalesced:
    """The net effect of a commit's writes."""
    last: dict[tuple[RecordKind, str], bytes | None] = {}
    for write in commit.writes:
        last[RecordKind(write.kind), write.ident] = write.value
    sets: dict[RecordKind, dict[str, bytes]] = {kind: {} for kind in RecordKind}
    deletes: dict[RecordKind, list[str]] = {kind: [] for kind in RecordKind}
    for (kind, ident), value in last.items():
        if value is None:
            deletes[kind].append(ident)
        else:
            sets[kind][ident] = bytes(value)
    return Coalesced(sets, deletes)


def check_claim(nonce: str, floor: int) -> None:
    """Raise InvalidInput for a nonce that equals that of a released lease, or a floor that would use up the terms."""
    if not nonce:
        raise InvalidInput("a claim needs a nonce: make a new one for each claim")
    if not 0 <= floor < MAX_TERM:
        raise InvalidInput(f"term floor {floor}: must be between 0 and 2**52")


def floor_refused(floor: int) -> FloorRefused:
    """The error for a floor that no owner can have had."""
    return FloorRefused(f"term floor {floor} is more than a day above the store's clock: no owner ever had that term")


def check_wanted(wanted: int | None) -> None:
    """Raise InvalidInput for an impossible number of cells."""
    if wanted is not None and not 1 <= wanted <= 4096:
        raise InvalidInput(f"number of cells {wanted}: must be between 1 and 4096")


def conflict_text(wanted: int, found: int) -> str:
    """The message of the Conflict about the number of cells."""
    return f"this cluster has {found} cells, not {wanted}: start with --cells {found}, or use another --cluster"


def fenced(cell: int, term: int, stored_term: int, owner: str) -> Fenced:
    """The error for a caller whose (term, nonce) is not the stored one."""
    if stored_term < term:
        return StoreLostData(
            f"cell {cell}: the store knows term {stored_term} only, not {term}: it lost data; claim the cell again"
        )
    holder = f"owned by {owner}" if owner else "without an owner"
    return Fenced(f"cell {cell} is {holder} under term {stored_term}, not {term}: drop the cache and consume again")


def lost(cell: int, number: int, stored: int) -> StoreLostData:
    """The error for a commit that does not follow the stored one."""
    return StoreLostData(
        f"cell {cell}: commit {number} does not follow the stored commit {stored}: data was lost; claim the cell again"
    )


def wrong_type(key: str, found: str, needed: str) -> StoreUnavailable:
    """The error about a key with a value of another type; nothing was written."""
    return StoreUnavailable(
        f"key {key} has the type {found} and should have the type {needed}: another program uses this name; "
        "delete the key, or use another --cluster"
    )


def not_integer(key: str, field: str) -> StoreUnavailable:
    """The error about a counter that is no integer; nothing was written."""
    return StoreUnavailable(f"field {field!r} of key {key} is no integer below 10^15: repair or delete it")


def as_text(value: str | int | float | None) -> str:
    """A value as it is stored."""
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)


def check_transaction(checks: Sequence[Check], changes: Sequence[Change]) -> None:
    """Raise InvalidInput for a transaction that could never be applied."""
    if len(checks) + len(changes) > MAX_CHANGES:
        raise InvalidInput(f"a transaction of {len(checks) + len(changes)} steps: at most {MAX_CHANGES}")
    for check in checks:
        if not check.key or check.op not in ("hash", "zcard"):
            raise InvalidInput(f"no such check: {check.op} {check.key!r}")
        if check.op == "zcard" and not isinstance(check.value, int):
            raise InvalidInput(f"zcard {check.key!r}: the size must be an integer, not {check.value!r}")
    texts: dict[tuple[str, str], str] = {}
    for change in changes:
        value = change.value
        if not change.key or change.op not in CHANGES:
            raise InvalidInput(f"no such change: {change.op} {change.key!r}")
        if change.op == "hincrby" and not (isinstance(value, int) and abs(value) < MAX_INCREMENT):
            raise InvalidInput(f"hincrby {change.key!r}: {value!r} is not an integer below 10**15")
        if change.op in ("zadd", "zadd_last") and (isinstance(value, str) or math.isnan(value)):
            raise InvalidInput(f"{change.op} {change.key!r}: {value!r} is not a number")
        if change.op == "zadd_after" and (isinstance(value, str) or not abs(value) <= MAX_DELAY_SECONDS):
            raise InvalidInput(f"zadd_after {change.key!r}: {value!r} is not a number of seconds up to 10**9")
        if change.op == "hset":
            texts[change.key, change.field] = as_text(value)
        elif change.op == "hincrby" and not INTEGER.fullmatch(texts.get((change.key, change.field), "0")):
            raise InvalidInput(f"hincrby {change.key!r}: field {change.field!r} was just set to a text")
