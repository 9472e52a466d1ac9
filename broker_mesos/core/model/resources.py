"""Resources that an agent lends and a task uses, as one exact, immutable value.

Amounts are integer thousandths (1.5 cpus is 1500), so that sums and differences are exact.
A value holds scalars (``cpus:1.5``), ranges (``ports:[31000-32000]``) and sets (``kinds:{a,b}``);
its canonical text is what goes over the wire and into the store.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, final

from pydantic_core import core_schema

from broker_mesos.core.model.amounts import (
    MAX_AMOUNT,
    MAX_BOUND,
    THOUSAND,
    amount_text,
    check_name,
    clipped,
    items_of,
    member_of,
    pieces,
    range_of,
    scalar_of,
    shown,
)
from broker_mesos.core.model.resource_sets import Items, Ranges, count, merge, minus, tables_minus, union
from broker_mesos.errors import InvalidResources

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

Amount = int | float | Decimal | str | Iterable[Any]

MAX_TEXT: Final = 1_000_000

_CACHED_TEXT: Final = 512  # longer texts (fragmented ports) seldom repeat and would fill the memory
_FIRST: Final = {"cpus": 0, "mem": 1, "disk": 2, "gpus": 3}
_PLAIN = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_NO_ITEMS: Final[dict[str, Items]] = {}


@final
class Resources:
    """An immutable, hashable amount of resources; zero amounts and empty ranges or sets are absent.

    One name has one kind (scalar, range or set). Values are built with :meth:`parse` (text), :meth:`of` (units) or
    :meth:`scalars_of` (thousandths). All errors are :class:`InvalidResources`.
    """

    __slots__ = ("_counted", "_hash", "_items", "_scalars", "_text")

    _scalars: dict[str, int]
    _items: dict[str, Items]
    _counted: Resources
    _hash: int
    _text: str

    EMPTY: ClassVar[Resources]

    def __init__(self) -> None:
        self._scalars = {}
        self._items = _NO_ITEMS

    # -- making one

    @classmethod
    def parse(cls, text: str) -> Resources:
        """Parse text such as ``cpus:4;mem:4096;ports:[31000-32000,33000-33100];kinds:{a,b}``. Scalars are in
        units, ranges are inclusive."""
        if not isinstance(text, str):
            raise InvalidResources(f"resources are text such as 'cpus:1;mem:256', not {type(text).__name__}")
        return _parse_cached(text) if len(text) <= _CACHED_TEXT else _parse(text)

    @classmethod
    def of(cls, **amounts: Amount) -> Resources:
        """``Resources.of(cpus=1.5, mem=1024, ports=[(31000, 31005)], kinds={"a"})``: scalars in units."""
        return cls.from_mapping(amounts)

    @classmethod
    def from_mapping(cls, amounts: Mapping[str, Amount]) -> Resources:
        """Build from a mapping like :meth:`of`. A text value is read as in :meth:`parse`, so that
        ``from_mapping(r.as_numbers()) == r``."""
        scalars: dict[str, int] = {}
        items: dict[str, Items] = {}
        for name, value in amounts.items():
            check_name(name)
            if isinstance(value, str):
                _put(scalars, items, name, value.strip())
            elif isinstance(value, int | float | Decimal):
                _put_scalar(scalars, name, scalar_of(name, value))
            else:
                _put_items(items, name, items_of(name, value))
        return _make(scalars, items)

    @classmethod
    def scalars_of(cls, thousandths: Mapping[str, int]) -> Resources:
        """Build from exact thousandths. In contrast to text, the amounts may exceed ``amounts.MAX_AMOUNT``, since
        sums over many agents do."""
        scalars: dict[str, int] = {}
        for name, amount in thousandths.items():
            check_name(name)
            if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= MAX_BOUND:
                raise InvalidResources(f"{name}: thousandths must be a whole number of at least 0, not {amount!r}")
            _put_scalar(scalars, name, amount)
        return _make(scalars, _NO_ITEMS)

    @classmethod
    def sum(cls, many: Iterable[Resources]) -> Resources:
        """The sum of many values, computed in one pass. Ranges and sets must not overlap: sum the results of
        :meth:`counted` across agents."""
        scalars: dict[str, int] = {}
        items: dict[str, list[Items]] = {}
        for one in many:
            for name, amount in one._scalars.items():
                scalars[name] = scalars.get(name, 0) + amount
            for name, some in one._items.items():
                items.setdefault(name, []).append(some)
        if not items:
            return _make(scalars, _NO_ITEMS) if scalars else cls.EMPTY
        for name in items:
            if name in scalars:
                _mixed(name)
        return _make(scalars, {name: union(name, parts) for name, parts in items.items()})

    @classmethod
    def summed(cls, thousandths: Mapping[str, int]) -> Resources:
        """Build like :meth:`scalars_of`, without checks: for sums of amounts that have been checked before."""
        return _make({name: amount for name, amount in thousandths.items() if amount}, _NO_ITEMS)

    # -- reading it

    @property
    def scalars(self) -> Mapping[str, int]:
        """Thousandths of each scalar by name."""
        return MappingProxyType(self._scalars)

    @property
    def ranges(self) -> Mapping[str, Ranges]:
        """The ranges of each range resource by name, as sorted, merged, inclusive (low, high) pairs."""
        return {name: some for name, some in self._items.items() if isinstance(some, tuple)}

    @property
    def sets(self) -> Mapping[str, frozenset[str]]:
        """The members of each set resource by name."""
        return {name: some for name, some in self._items.items() if isinstance(some, frozenset)}

    def get(self, name: str) -> int:
        """Thousandths of a scalar; 0 if it is absent."""
        return self._scalars.get(name, 0)

    def names(self) -> list[str]:
        """All names in canonical order: cpus, mem, disk, gpus, then alphabetical."""
        return sorted([*self._scalars, *self._items], key=_order)

    def quantities(self) -> dict[str, int]:
        """Thousandths by name, where each number of a range and each member of a set counts as 1000."""
        found = dict(self._scalars)
        for name, some in self._items.items():
            found[name] = count(some) * THOUSAND
        return found

    def counted(self) -> Resources:
        """The value with ranges and sets replaced by scalars that count their members, so that values of several
        agents can be added."""
        if not self._items:
            return self
        try:
            return self._counted
        except AttributeError:
            self._counted = _make(self.quantities(), _NO_ITEMS)
            return self._counted

    def dominant_share(self, total: Resources, exclude: Collection[str] = frozenset()) -> float:
        """The largest amount/total over the scalars of `total` that are not in `exclude`; 0.0 if there is none.

        Division of integers is correctly rounded, so equal ratios give equal floats and order is kept.
        """
        share = 0.0
        mine = self._scalars
        if not mine:
            return share
        for name, whole in total._scalars.items():
            if name in mine and name not in exclude:
                part = mine[name] / whole
                if part > share:
                    share = part
        return share

    def as_numbers(self) -> dict[str, int | float | str]:
        """The value for display as JSON, such as ``{"cpus": 1.5, "mem": 1024, "ports": "[31000-31005]"}``, in
        canonical order."""
        return {name: self._number(name) for name in self.names()}

    # -- arithmetic

    def __add__(self, other: Resources) -> Resources:
        """The sum of both. Raises InvalidResources if a range or set has the same member on both sides."""
        if type(other) is not Resources:
            return NotImplemented
        mine, theirs = self._scalars, other._scalars
        if not theirs and not other._items:
            return self
        if not mine and not self._items:
            return other
        if self._items or other._items:
            return Resources.sum((self, other))
        total = mine.copy()
        for name, amount in theirs.items():
            total[name] = total.get(name, 0) + amount
        return _make(total, _NO_ITEMS)

    def __sub__(self, other: Resources) -> Resources:
        """The difference of both. Raises InvalidResources, which names what is missing, unless this contains
        `other`."""
        if type(other) is not Resources:
            return NotImplemented
        if other is self:
            return Resources.EMPTY
        left = self._scalars.copy()
        for name, amount in other._scalars.items():
            rest = left.get(name, 0) - amount
            if rest > 0:
                left[name] = rest
            elif rest == 0:
                del left[name]
            else:
                self._refuse(other)
        if not other._items:
            return _make(left, self._items)
        if not self.contains(other):
            self._refuse(other)
        return _make(left, tables_minus(self._items, other._items))

    def contains(self, other: Resources) -> bool:
        """Whether `other` fits into this. A resource of another kind under the same name does not fit."""
        mine = self._scalars
        for name, amount in other._scalars.items():
            if mine.get(name, 0) < amount:
                return False
        if other._items:
            for name, some in other._items.items():
                if minus(some, self._items.get(name)):
                    return False
        return True

    def __ge__(self, other: Resources) -> bool:
        return self.contains(other) if type(other) is Resources else NotImplemented

    def __le__(self, other: Resources) -> bool:
        return other.contains(self) if type(other) is Resources else NotImplemented

    def missing(self, other: Resources) -> Resources:
        """The part of `other` that is not in this; it is empty exactly if this contains `other`."""
        return other.clipped_minus(self)

    def clipped_minus(self, other: Resources) -> Resources:
        """The difference of both, where the missing part of `other` is ignored; it never raises."""
        if not other._scalars and not other._items:
            return self
        left = self._scalars.copy()
        for name, amount in other._scalars.items():
            if name in left:
                rest = left[name] - amount
                if rest > 0:
                    left[name] = rest
                else:
                    del left[name]
        items = tables_minus(self._items, other._items) if self._items and other._items else self._items
        return _make(left, items)

    # -- being a value

    def __bool__(self) -> bool:
        return bool(self._scalars or self._items)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Resources:
            return NotImplemented
        return self._scalars == other._scalars and self._items == other._items

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash = hash((frozenset(self._scalars.items()), frozenset(self._items.items())))
            return self._hash

    def __str__(self) -> str:
        try:
            return self._text
        except AttributeError:
            self._text = ";".join(f"{name}:{self._value_text(name)}" for name in self.names())
            return self._text

    def __repr__(self) -> str:
        return f"Resources({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self._scalars, self._items)

    def __copy__(self) -> Resources:
        return self

    def __deepcopy__(self, memo: object) -> Resources:
        return self

    def _value_text(self, name: str) -> str:
        if name in self._scalars:
            return amount_text(self._scalars[name])
        some = self._items[name]
        if isinstance(some, frozenset):
            return "{" + ",".join(sorted(some)) + "}"
        return "[" + ",".join(f"{low}-{high}" for low, high in some) + "]"

    def _number(self, name: str) -> int | float | str:
        if name not in self._scalars:
            return self._value_text(name)
        units, rest = divmod(self._scalars[name], THOUSAND)
        return self._scalars[name] / THOUSAND if rest else units

    def _refuse(self, other: Resources) -> NoReturn:
        for name in other.names():
            if (name in self._items) if name in other._scalars else (name in self._scalars):
                _mixed(name)
        short = clipped(str(self.missing(other)))
        raise InvalidResources(
            f"cannot take {clipped(str(other))} out of {clipped(str(self)) or 'nothing'}: short of {short}"
        )

    # -- in a pydantic model: text on the wire; text, a mapping as for `from_mapping`, or a value come in

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _coerce, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "title": "Resources", "examples": ["cpus:1.5;mem:1024;ports:[31000-31005]"]}


_new = object.__new__


def _make(scalars: dict[str, int], items: dict[str, Items]) -> Resources:
    """Build a value without checks. It keeps both dicts, which must have no zero amounts and no empty items."""
    made = _new(Resources)
    made._scalars = scalars
    made._items = items
    return made


Resources.EMPTY = Resources()


def _coerce(value: object) -> Resources:
    if type(value) is Resources:
        return value
    if isinstance(value, str):
        return Resources.parse(value)
    if isinstance(value, Mapping):
        return Resources.from_mapping(value)
    raise InvalidResources(
        f"resources are text such as 'cpus:1;mem:256' or a table of amounts, not {type(value).__name__}"
    )


def _order(name: str) -> tuple[int, str]:
    return _FIRST.get(name, 4), name


def _mixed(name: str) -> NoReturn:
    raise InvalidResources(f"{name} is an amount on one side, and a range or set on the other: use one kind for a name")


# -- reading text


def _parse(text: str) -> Resources:
    if len(text) > MAX_TEXT:
        raise InvalidResources(f"resources of {len(text)} characters: write at most {MAX_TEXT}")
    scalars: dict[str, int] = {}
    items: dict[str, Items] = {}
    seen: set[str] = set()
    for part in text.split(";"):
        part = part.strip()
        if not part:
            continue
        name, colon, value = part.partition(":")
        if not colon:
            raise InvalidResources(f"{shown(part)} is not a resource: write name:amount, for instance cpus:1.5")
        name = check_name(name.strip())
        if name in seen:
            raise InvalidResources(f"{name} is given twice: add the two up into one")
        seen.add(name)
        _put(scalars, items, name, value.strip())
    return _make(scalars, items)


_parse_cached = lru_cache(maxsize=16384)(_parse)


def _put(scalars: dict[str, int], items: dict[str, Items], name: str, value: str) -> None:
    if value[:1] == "[" and value[-1] == "]":
        _put_items(items, name, merge(name, [range_of(name, pair) for pair in pieces(name, value)]))
    elif value[:1] == "{" and value[-1] == "}":
        _put_items(
            items,
            name,
            frozenset(member_of(name, one.strip()) for one in pieces(name, value)),
        )
    elif _PLAIN.fullmatch(value):
        _put_scalar(scalars, name, scalar_of(name, Decimal(value)))
    else:
        raise InvalidResources(f"{name}: {shown(value)} is not an amount: write 1.5, [31000-32000] or {{a,b}}")


def _put_scalar(scalars: dict[str, int], name: str, amount: int) -> None:
    if name == "gpus" and amount % THOUSAND:
        raise InvalidResources(f"gpus:{amount_text(amount)} is not whole: ask for whole gpus")
    if amount:
        scalars[name] = amount


def _put_items(items: dict[str, Items], name: str, some: Items) -> None:
    # Members count like units of a scalar: sums of them over many agents stay within the same bound.
    if (members := count(some)) > MAX_AMOUNT:
        raise InvalidResources(f"{name}: {members} members are more than {MAX_AMOUNT}: write a smaller range")
    if some:
        items[name] = some
