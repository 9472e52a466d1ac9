"""What people are told of fields that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pydantic_core import core_schema

from broker_mesos.core.api.catalog import REQUESTS
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.reservation import Volume
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.protocol.wire import _MUST, _OTHERWISE, _OURS, first_problem, wording


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Shape(resources="cpus:1", count="x"), "count: write a whole number"),
        (lambda: Shape(), "resources: missing"),
        (
            lambda: Volume(volume_id="x/", role="eng", size="disk:1"),
            "volume_id: write 1 to 128 letters, digits, '.', '_' or '-', a letter or digit first",
        ),
        (
            lambda: TaskInfo(task_id="", resources="cpus:1"),
            "task_id: write 1 to 255 letters, digits, '.', '_' or '-', a letter or digit first",
        ),
    ],
)
def test_the_first_problem_says_what_to_write(make: Callable[[], Part], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    assert first_problem(caught.value) == words


BAD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    1e300,
    math.inf,
    math.nan,
    "",
    "x",
    "a/b",
    "x" * 70_000,
    "\ud800",
    b"\xff",
    [],
    [None] * 3_000,
    [{}],
    {},
    {"x": None},
    {1: 1},
)


def models_in(kind: Any) -> Iterator[type[Part]]:
    """The models that a type mentions."""
    if isinstance(kind, type) and issubclass(kind, Part):
        yield kind
    for each in get_args(kind):
        yield from models_in(each)


def findings_of(kind: type[Part], seen: set[type[Part]]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """What pydantic finds when each field in turn has a value that may not fit, in nested models as well."""
    if kind in seen:
        return
    seen.add(kind)
    kind.model_rebuild()
    attempts: list[Any] = [*BAD_VALUES, *({name: bad} for name in kind.model_fields for bad in BAD_VALUES)]
    for attempt in attempts:
        try:
            kind.model_validate(attempt)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                yield each["type"], each.get("ctx", {}), each["msg"]
    for field in kind.model_fields.values():
        for inner in models_in(field.annotation):
            yield from findings_of(inner, seen)


def test_every_finding_in_a_request_has_our_words() -> None:
    seen: set[type[Part]] = set()
    found = {each[0]: each for request in REQUESTS.values() for each in findings_of(request, seen)}
    assert len(found) > 15, found  # else the walk does not reach what it is for
    for kind, context, message in found.values():
        said = wording(kind, context, message)
        assert "{" not in said and said != _OTHERWISE, kind
        if kind not in _OURS:
            assert said != message and kind in _MUST, kind


def test_a_finding_that_nobody_has_foreseen_does_not_show_the_library() -> None:
    for kind in get_args(core_schema.ErrorType):
        said = wording(kind, {}, "Input should be something")
        assert "Input" not in said or kind in _OURS
    assert wording("less_than", {}) == _OTHERWISE
