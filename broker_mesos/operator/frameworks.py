"""Tears frameworks down, and readmits them, in all cells."""

from __future__ import annotations

from broker_mesos.core.api.frameworks import (
    FrameworkReadmitted,
    FrameworkTornDown,
    ReadmitFramework,
    TearDownFramework,
)
from broker_mesos.errors import NotFound, Unavailable
from broker_mesos.operator.calls import Calls, not_all_cells


async def tear_down(calls: Calls, request: TearDownFramework, timeout: float) -> FrameworkTornDown:
    """Tear a framework down in all cells; those that know it notify the others. Raises NotFound for one that no cell
    knows, and Unavailable if some cells do not answer, and the others do not know it."""
    ident = request.framework_id
    answers, missing = await calls.all_cells(request, FrameworkTornDown, timeout)
    if not any(answer.known for answer in answers):
        if missing:
            raise not_all_cells(f"framework {ident}", missing)
        raise NotFound(f"no framework {ident}; `bmesos frameworks` lists them")
    return FrameworkTornDown(
        known=True,
        tasks=sum(answer.tasks for answer in answers),
        offers=sum(answer.offers for answer in answers),
        missing=tuple(each.cell for each in missing),
    )


async def readmit(calls: Calls, request: ReadmitFramework, timeout: float) -> FrameworkReadmitted:
    """Remove the tombstone of a framework in all cells. Raises NotFound if none has one."""
    answers, missing = await calls.all_cells(request, FrameworkReadmitted, timeout)
    if missing:
        # A cell that still refuses the framework would cause all cells to refuse it again.
        cells = ", ".join(str(each.cell) for each in missing)
        raise Unavailable(f"cells {cells} do not answer; give the command again when they do")
    if not any(answer.known for answer in answers):
        raise NotFound(f"no framework {request.framework_id} was torn down; `bmesos frameworks` lists them")
    return FrameworkReadmitted(known=True)
