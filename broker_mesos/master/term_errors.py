"""The reasons for which the term of an owner ends."""

from __future__ import annotations

from broker_mesos.errors import Fenced, StoreUnavailable, Unavailable
from broker_mesos.ports.bus import ConsumerClosed


class Superseded(Exception):
    """An agent has seen a higher term than this owner's: the cell must be claimed again, above that term."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"an agent reported term {floor}")
        self.floor = floor


class SteppingDown(Exception):
    """This master gives the cell to another one."""


class HandlerFailed(Exception):
    """The decision on a batch has raised an error: the state in memory can no longer be trusted."""


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The most specific error of a group: tasks that fail together fail for the same reason."""
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
