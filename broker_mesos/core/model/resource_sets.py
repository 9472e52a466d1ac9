"""Operations on the members of range resources and set resources.

Ranges are sorted, merged, inclusive (low, high) pairs; sets are frozensets of names.
"""

from __future__ import annotations

from broker_mesos.errors import InvalidResources

Ranges = tuple[tuple[int, int], ...]
Items = Ranges | frozenset[str]


def merge(name: str, pairs: list[tuple[int, int]], *, disjoint: bool = False) -> Ranges:
    """The pairs in order, with touching and overlapping pairs joined. Raises InvalidResources if pairs overlap and
    `disjoint` is set."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if not merged or low > merged[-1][1] + 1:
            merged.append((low, high))
            continue
        first, last = merged[-1]
        if disjoint and low <= last:
            raise InvalidResources(f"{name}:[{low}-{min(high, last)}] is on both sides: it cannot be added to itself")
        merged[-1] = (first, max(last, high))
    return tuple(merged)


def union(name: str, parts: list[Items]) -> Items:
    """The union of parts with one name. Raises InvalidResources if they are of different kinds or share a
    member."""
    if len(parts) == 1:
        return parts[0]
    pairs: list[tuple[int, int]] = []
    members: set[str] = set()
    for part in parts:
        if isinstance(part, tuple):
            pairs += part
            continue
        if both := members & part:
            raise InvalidResources(f"{name}:{{{min(both)}}} is on both sides: it cannot be added to itself")
        members |= part
    if pairs and members:
        raise InvalidResources(f"{name} is a range on one side, and a set on the other: use one kind for a name")
    return frozenset(members) if members else merge(name, pairs, disjoint=True)


def minus(some: Items, taken: Items | None) -> Items:
    """The members of `some` that are not in `taken`; all of them if `taken` is of another kind."""
    if some is taken or some == taken:  # often, since offers mostly take all that is left of an agent
        return ()
    if isinstance(some, frozenset):
        return some - taken if isinstance(taken, frozenset) else some
    if not isinstance(taken, tuple):
        return some
    if len(taken) == 1 and some and taken[0][0] <= some[0][0] and some[-1][1] <= taken[0][1]:
        return ()
    left: list[tuple[int, int]] = []
    at = 0
    for low, high in some:
        while at < len(taken) and taken[at][1] < low:
            at += 1
        # Not moved past its end here: the last pair taken from may reach into the next of `some`.
        cut = at
        while cut < len(taken) and taken[cut][0] <= high:
            first, last = taken[cut]
            if first > low:
                left.append((low, first - 1))
            low = last + 1
            cut += 1
        at = max(at, cut - 1)
        if low <= high:
            left.append((low, high))
    return tuple(left)


def tables_minus(mine: dict[str, Items], theirs: dict[str, Items]) -> dict[str, Items]:
    """The result of :func:`minus` for each name; names with no members left are dropped."""
    if not mine or not theirs:
        return mine
    left: dict[str, Items] = {}
    for name, some in mine.items():
        if rest := minus(some, theirs.get(name)):
            left[name] = rest
    return left


def count(some: Items) -> int:
    """The number of members: of numbers in ranges, or of names in a set."""
    return len(some) if isinstance(some, frozenset) else sum(high - low + 1 for low, high in some)
