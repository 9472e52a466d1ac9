"""Why an owner's term ends."""

from __future__ import annotations

from broker_mesos.errors import Fenced, StoreUnavailable, Unavailable
from broker_mesos.ports.bus import ConsumerClosed


class Superseded(Exception):
    """An agent has seen a higher term than this owner's: claim again, above it."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"an agent reported term {floor}")
        self.floor = floor


class SteppingDown(Exception):
    """This master gives the cell to another one."""


class HandlerFailed(Exception):
    """The decision on a batch raised an error: the state in memory is not to be trusted any more."""


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group that says most: tasks that fail together fail for one reason."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        else:
            flat.append(each)
    order = (SteppingDown, Superseded, HandlerFailed, Fenced, StoreUnavailable, Unavailable, ConsumerClosed)
    for kind in order:
        for each in flat:
            if isinstance(each, kind):
                return each
    return flat[0]
