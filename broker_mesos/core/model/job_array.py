"""The indices of a job's array: one range, or several ranges with steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from broker_mesos.core.model.amounts import shown
from broker_mesos.errors import InvalidInput

MAX_ARRAY = 10_000_000
"""The largest number of tasks of one job."""
MAX_RANGES = 1_000
"""The largest number of ranges of one array."""
Range = tuple[int, int, int]
"""A range of indices: first index, last index (inclusive), step."""

_TEXT = re.compile(r"([^%]*)(?:%([0-9]{1,9}))?")
_RANGE = re.compile(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*(?::\s*([0-9]{1,9})\s*)?)?")
_EXPECTED = "write a number of tasks (50), FIRST-LAST (0-9), steps and lists (1-10:3,20), and %N for N at a time"


class ArrayOptions(NamedTuple):
    """The parsed text of an array."""

    array: tuple[int, int]
    """First and last index, inclusive."""
    ranges: tuple[Range, ...] = ()
    """The ranges of the array; empty if it has every index from the first to the last."""
    max_running: int = 0
    """The largest number of tasks that run at a time; 0 if it is not limited."""


def parse_array(text: str) -> ArrayOptions:
    """Parse the text of an array. ``50`` is 1 to 50, ``0-9`` is 0 to 9, ``1-10:3,20`` is 1, 4, 7, 10 and 20, and
    ``1-100%5`` runs at most 5 at a time. Raises InvalidInput."""
    match = _TEXT.fullmatch(text.strip())
    parts = [] if match is None else [_RANGE.fullmatch(part) for part in match[1].split(",")]
    if match is None or not all(parts):
        raise InvalidInput(f"array {shown(text)}: {_EXPECTED}")
    max_running = int(match[2] or 0)
    if match[2] is not None and not max_running:
        raise InvalidInput(f"array {shown(text)}: at least one task runs at a time; write %1 or more")
    ranges = [(int(part[1]), int(part[2] or part[1]), int(part[3] or 1)) for part in parts if part]
    if len(ranges) == 1 and parts[0] is not None and parts[0][2] is None:
        if not ranges[0][0]:
            raise InvalidInput("array 0: an array has at least one task")
        return ArrayOptions((1, ranges[0][0]), (), max_running)
    for first, last, step in ranges:
        if last < first or not step:
            raise InvalidInput(f"array {first}-{last}:{step}: give FIRST-LAST:STEP with FIRST <= LAST and STEP >= 1")
    ranges = sorted((first, first + (last - first) // step * step, step) for first, last, step in ranges)
    array = ranges[0][0], max(last for _, last, _ in ranges)
    if len(ranges) == 1 and ranges[0][2] == 1:
        return ArrayOptions(array, (), max_running)
    return ArrayOptions(array, tuple(ranges), max_running)


def problem_of(array: tuple[int, int] | None, ranges: Sequence[Range]) -> str:
    """The first problem of an array, in one line; empty if it is valid."""
    if array is None:
        return "ranges are given without an array" if ranges else ""
    first, last = array
    if first < 0 or last < first:
        return f"array {first}-{last}: give FIRST-LAST with 0 <= FIRST <= LAST"
    if len(ranges) > MAX_RANGES:
        return f"an array of {len(ranges)} ranges: at most {MAX_RANGES}; split the job"
    before = first - 1
    for low, high, step in ranges:
        if step < 1 or high < low or (high - low) % step:
            return f"array {low}-{high}:{step}: give FIRST-LAST:STEP with FIRST <= LAST and STEP >= 1"
        if low <= before:
            return f"array: {low}-{high} and the range before it overlap; name each index in one range"
        before = high
    if ranges and (ranges[0][0], before) != array:
        return f"array {first}-{last}: its ranges go from {ranges[0][0]} to {before}"
    if size_of(array, ranges) > MAX_ARRAY:
        return f"array {first}-{last}: at most {MAX_ARRAY} tasks; split the job"
    return ""


def size_of(array: tuple[int, int], ranges: Sequence[Range]) -> int:
    """Number of indices of an array."""
    if not ranges:
        return array[1] - array[0] + 1
    return sum((last - first) // step + 1 for first, last, step in ranges)


def index_at(first: int, ranges: Sequence[Range], offset: int) -> int:
    """The index at an offset in the order of the array, counted from 0. Raises IndexError if the offset is beyond
    the end of the array."""
    if not ranges:
        return first + offset
    for low, high, step in ranges:
        size = (high - low) // step + 1
        if offset < size:
            return low + offset * step
        offset -= size
    raise IndexError("offset beyond the end of the array")


def offset_of(first: int, total: int, ranges: Sequence[Range], index: int) -> int | None:
    """The offset of an index in the order of the array; None if the array does not have the index."""
    if not ranges:
        return index - first if first <= index < first + total else None
    before = 0
    for low, high, step in ranges:
        if low <= index <= high:
            return before + (index - low) // step if (index - low) % step == 0 else None
        before += (high - low) // step + 1
    return None
