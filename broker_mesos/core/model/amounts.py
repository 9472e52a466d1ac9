"""Validation and conversion of one amount of resources and its name, as people write them."""

from __future__ import annotations

import re
from collections.abc import Set
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from broker_mesos.core.model.resource_sets import Items, merge
from broker_mesos.errors import InvalidResources

THOUSAND: Final = 1000
MAX_AMOUNT: Final = 10**9
"""The largest amount of one scalar that may be written, in units. The bound catches memory given in bytes."""
MAX_BOUND: Final = 2**63 - 1
"""The largest number that may be in a range."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_RANGE = re.compile(r"\s*([0-9]{1,19})\s*(?:-\s*([0-9]{1,19})\s*)?")
_MEMBER = re.compile(r"[A-Za-z0-9_./:@+=-]{1,128}")


def amount_text(thousandths: int) -> str:
    """An amount of thousandths as text in units, without trailing zeros: 1500 → ``1.5``."""
    units, rest = divmod(thousandths, THOUSAND)
    return f"{units}.{rest:03d}".rstrip("0") if rest else str(units)


def check_name(name: object) -> str:
    """Return the name of a resource or attribute unchanged. Raises InvalidResources if it is not a valid name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidResources(
            f"{shown(name)} is not a name: use a letter or _, then up to 63 letters, digits, '_', '.' or '-'"
        )
    return name


def shown(value: object) -> str:
    """A value from outside as one short line of text, with control characters escaped."""
    return repr(clipped(value)) if isinstance(value, str) else clipped(repr(value))


def clipped(text: str, width: int = 120) -> str:
    """The text, cut to at most ``width`` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def pieces(name: str, value: str) -> list[str]:
    """The members of a range or set as text: the parts between the brackets, separated by commas."""
    inside = value[1:-1].strip()
    return inside.split(",") if inside else []


def scalar_of(name: str, amount: int | float | Decimal) -> int:
    """The thousandths of an amount in units. Raises InvalidResources if it is not an amount or is out of bounds."""
    # Through the shortest text of a float, so that 0.1 is 100 thousandths and 0.0005 is a true half.
    exact = Decimal(float.__repr__(amount) if isinstance(amount, float) else amount)
    if isinstance(amount, bool) or not exact.is_finite():
        raise InvalidResources(f"{name}: {amount} is not an amount: write a number such as 1.5")
    if exact < 0:
        raise InvalidResources(f"{name}: {clipped(str(exact), 24)} is negative: write an amount of at least 0")
    if exact > MAX_AMOUNT:
        raise InvalidResources(
            f"{name}: {clipped(str(exact), 24)} is more than {MAX_AMOUNT}: check the unit (mem and disk: MB)"
        )
    if exact and exact * THOUSAND < 1:
        raise InvalidResources(f"{name}: {clipped(str(exact), 24)} is less than 0.001: write at least 0.001, or 0")
    return int((exact * THOUSAND).to_integral_value(ROUND_HALF_EVEN))


def items_of(name: str, value: object) -> Items:
    """The ranges or the set for a Python list, tuple or set. Raises InvalidResources for any other value."""
    if isinstance(value, Set):
        return frozenset(member_of(name, one) for one in value)
    if isinstance(value, list | tuple):
        return merge(name, [bounds_of(name, pair) for pair in value])
    raise InvalidResources(
        f"{name}: {type(value).__name__} is not an amount: give a number, a list of pairs or a set of names"
    )


def member_of(name: str, member: object) -> str:
    """Return a member of a set unchanged. Raises InvalidResources if it is not a valid member."""
    if not isinstance(member, str) or not _MEMBER.fullmatch(member):
        raise InvalidResources(f"{name}: {shown(member)} cannot be in a set: use letters, digits and _./:@+=- only")
    return member


def range_of(name: str, text: str) -> tuple[int, int]:
    """The bounds of a range, both inclusive, from the text ``low-high`` or one number. Raises InvalidResources."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InvalidResources(f"{name}: {shown(text)} is not a range: write low-high, for instance 31000-32000")
    low, high = match.groups()
    return bounds_of(name, (int(low), int(high or low)))


def bounds_of(name: str, pair: object) -> tuple[int, int]:
    """The bounds of a range, both inclusive, from a pair of whole numbers. Raises InvalidResources."""
    if not isinstance(pair, list | tuple) or len(pair) != 2 or any(type(end) is not int for end in pair):
        raise InvalidResources(f"{name}: {shown(pair)} is not a range: give two whole numbers, low and high")
    low, high = pair
    if not 0 <= low <= high <= MAX_BOUND:
        # Python writes no numbers of more than 4,300 digits.
        what = f"{low}-{high}" if max(abs(low), abs(high)) < 10**100 else "a pair of numbers with hundreds of digits"
        raise InvalidResources(f"{name}: {what} is not a range: give 0 <= low <= high <= {MAX_BOUND}")
    return low, high
