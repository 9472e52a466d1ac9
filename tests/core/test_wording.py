"""What people are told of fields that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.reservation import Volume
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.protocol.wire import first_problem


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
