"""Values for messages: what their types allow, at its edges, and what they do not allow."""

from __future__ import annotations

import copy
import enum
import json
import random
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.resources import Resources

KNOWN: dict[str, tuple[Any, ...]] = {
    "agent_id": ("a1", "a2", "a3", "new"),
    "agent_ids": ("a1", "a2", "a3", "new"),
    "framework_id": ("f1", "f2", "f3", "new"),
    "session": ("@session/0", "@session/1", "@session/2", "old", ""),
    "offer_id": ("@offer/0", "@offer/1", "@offer/2", "o-7-9", ""),
    "offer_ids": ("@offer/0", "@offer/1", "@offer/2", "o-7-9"),
    "task_id": ("t1", "t2", "t3", "t4", "job.0.1", "new"),
    "task_ids": ("t1", "t2", "t3", "t4", "job.0.1", "new"),
    "job_id": ("job", "new"),
    "volume_id": ("v1", "v2"),
    "volumes": ("v1", "v2"),
    "uuid": ("u1", "u2", ""),
    "uuids": ("u1", "u2", "@uuid/0"),
    "acknowledged": ("t1", "u1", "@uuid/0"),
    "role": ("*", "eng", "eng/db", "ops"),
    "roles": ("*", "eng", "eng/db", "ops"),
    "refine": ("", "eng"),
    "gang": ("", "", "g1", "g2"),
    "line": ("", "", "q1"),
    "attempt": ("@attempt", "p1.1", "p1.2", "p2.1", "", "p1." + "9" * 5_000),
    "cells": (1, 1, 1, 1, 2, 0, -1, 10**30),
    "cell": (0, 0, 0, 1, -1, 10**30),
    "number": ("@number", "@number", 1, 0, -1, 10**30),
    "highest_term": (0, 0, 6, 7, 8, 2**42, 2**52 - 1),
    "capabilities": ("REVOCABLE_RESOURCES", "GPU_RESOURCES", "DEMAND_ROLES", "other"),
    "path": ("data", "data/db", "stdout", "../x", "a\0b"),
}
"""Values by the name of a field. Those that begin with @ are replaced by what the receiver has at that moment; see
``resolved``."""

RESOURCES = (
    "cpus:1;mem:64",
    "cpus:1;mem:64",
    "cpus:0.001",
    "cpus:4;mem:4096;disk:1000",
    "",
    "cpus:1000000000;mem:1000000000",
    "ports:[1-2]",
    "ports:[0-9223372036854775807]",
    "ports:[1000000000-1999999999]",
    "ports:[1-1,3-3,5-5,7-7,9-9]",
    "kinds:{a,b}",
    "cpus:[1-2]",
    "disk:10",
    "gpus:1",
    "volumes:{v1}",
    "ports:2",
    "ports:{1}",
    ";".join(f"r{number}:1" for number in range(300)),
)
CONSTRAINTS = ("rack==r1", "rack!=r1", "rack~=(r|s)*[0-9]{1,9}", "hostname==a1", "!rack", "rack")
TEXTS = (
    "",
    "x",
    "r1",
    "two words",
    "a\0b",
    "line\nline",
    "\u202e\U0001f600é",
    "../../etc/passwd",
    "-rf",
    "%s{0}$(id)",
    '"',
    "x" * 255,
    "\x01" * 200,
    "y" * 20_000,
)
NUMBERS = (0.0, 0.5, 1.0, 30.0, -1.0, 1e-300, 5e-324, 1e9, 1e15, 1e300, 1.7e308, -1.7e308)
WHOLE = (0, 1, 2, 5, 100, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 10**4_000)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP, {"k": DEEP}] if len(json.dumps(DEEP)) < 500 else [DEEP]
HOSTILE: tuple[Any, ...] = (
    *NOT_FINITE,
    *WHOLE,
    1.7e308,
    -0.5,
    None,
    True,
    "",
    "1",
    "nan",
    "y" * 20_000,
    "\ud800",
    "a\0b",
    [],
    {},
    [[]],
    {"": None},
    DEEP,
    [0] * 2_000,
    {str(number): number for number in range(500)},
    "cpus:nan",
    "cpus:1e308",
    "cpus:-1",
    {"cpus": 1.7e308},
    {"cpus": float("nan")},
)

hostile: st.SearchStrategy[Any] = st.integers(0, len(HOSTILE) - 1).map(lambda at: copy.deepcopy(HOSTILE[at]))

json_values: st.SearchStrategy[Any] = st.recursive(
    hostile | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""JSON of any shape."""


class Twice(dict[str, Any]):
    """An object whose keys all appear twice in its JSON, first with other values."""

    def items(self) -> Any:
        return [*((key, None) for key in self), *super().items()]


@cache
def values_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """The JSON form of a model, as its fields allow it or nearly so."""
    required, optional = {}, {}
    for name, field in model.model_fields.items():
        (required if field.is_required() else optional)[name] = _of(field.annotation, name, _bounds(field))
    return st.fixed_dictionaries(required, optional=optional)


def _bounds(field: FieldInfo) -> tuple[Any, ...]:
    return tuple(field.metadata)


def _of(annotation: Any, name: str, bounds: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of(arguments[0], name, (*bounds, *arguments[1:]))
    if origin in (Union, types.UnionType):
        return st.one_of([_of(each, name, bounds) for each in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (tuple, list) or annotation in (tuple, list):
        if (len(arguments) == 2 and arguments[1] is Ellipsis) or origin is list:
            return st.lists(_of(arguments[0], name), max_size=3)
        return st.tuples(*(_of(each, name) for each in arguments)).map(list)
    if origin is dict:
        keys = _of(arguments[0], "role" if name in ("offer_filters", "offer_constraints", "roles") else "key")
        return st.dictionaries(keys, _of(arguments[1], name), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return st.sampled_from([each.value for each in annotation])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return values_of(annotation)
    if annotation is Resources:
        return st.sampled_from(RESOURCES)
    if annotation is Constraint:
        return st.sampled_from(CONSTRAINTS)
    if annotation is type(None):
        return st.none()
    if annotation is bool:
        return st.booleans()
    if name in KNOWN:
        return st.sampled_from(KNOWN[name])
    if annotation in (int, float):
        return _numbers(annotation, bounds)
    if annotation is str:
        return st.sampled_from(TEXTS)
    return json_values


def _numbers(kind: type, bounds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Numbers at the edges of what is allowed, and beyond them."""
    edges: list[Any] = []
    for bound in bounds:
        for at in ("ge", "gt", "le", "lt"):
            edge = getattr(bound, at, None)
            if edge is not None:
                edges += [edge, edge - 1, edge + 1]
    return st.sampled_from([*edges, *(WHOLE if kind is int else NUMBERS)])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values inside a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, each in value.items():
            found += places(each, (*path, key))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            found += places(each, (*path, at))
    return found


@st.composite
def bodies(draw: st.DrawFn, model: type[BaseModel], most: int = 2) -> dict[str, Any]:
    """The JSON of a model with up to ``most`` faults: a field dropped, replaced, repeated, or of another type."""
    value = draw(values_of(model))
    for _ in range(draw(st.integers(0, most))):
        found = places(value)
        fault = draw(st.sampled_from(("replace", "replace", "drop", "twice", "wrap")))
        if fault == "twice":
            value = Twice(value)
        if not found or fault == "twice":
            continue
        *above, last = draw(st.sampled_from(found))
        inside = value
        for step in above:
            inside = inside[step]
        if fault == "drop":
            del inside[last]
        elif fault == "wrap":
            inside[last] = [inside[last]] if isinstance(inside[last], dict | str) else {"value": inside[last]}
        else:
            inside[last] = draw(hostile)
    return value


def resolved(value: Any, lookup: Callable[[str], Any]) -> Any:
    """The value with all @names replaced by what ``lookup`` returns for them."""
    if isinstance(value, str):
        return lookup(value[1:]) if value.startswith("@") else value
    if isinstance(value, list):
        return [resolved(each, lookup) for each in value]
    if isinstance(value, Twice):
        return Twice({key: resolved(each, lookup) for key, each in dict.items(value)})
    if isinstance(value, Mapping):
        return {key: resolved(each, lookup) for key, each in value.items()}
    return value


def encoded(value: Any) -> bytes:
    """The value as the body of a message. Lone surrogates stay in it as bytes that are not UTF-8."""
    # Whole numbers of more than 4,300 digits have no text otherwise.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """The bytes with some of them changed, removed or inserted."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    spoiled = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = rng.randrange(len(spoiled) + 1)
        match rng.randrange(4):
            case 0:
                del spoiled[at : at + rng.randrange(1, 20)]
            case 1:
                spoiled[at:at] = rng.choice(
                    (b"\x00", b"\xff", b"[" * 300, b"{", b"}", b'"', b"\\ud800", b"1e999", b"-")
                )
            case 2:
                spoiled[at : at + 1] = bytes((rng.randrange(256),))
            case _:
                del spoiled[at:]
    return bytes(spoiled)
