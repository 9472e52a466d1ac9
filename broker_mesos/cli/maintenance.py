"""``bmesos maintenance``: lists and schedules planned absences of agents."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import cluster, show
from broker_mesos.cli.agents import Agents
from broker_mesos.cli.declare import Option
from broker_mesos.cli.options import Call, seconds
from broker_mesos.client.names import shown
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable


_LAST = 1e11  # what masters take at most, in seconds: imported from there it would slow down --help
_MAX_SECONDS = 3_660 * 86_400.0


def schedule(
    call: Call,
    agents: Agents,
    start: Annotated[
        str, Option("--start", metavar="TIME", help="When it starts: '+10m', or '2031-05-04 22:00' (local time).")
    ] = "+0",
    duration: Annotated[
        str | None, Option("--duration", metavar="TIME", help="How long it takes, as 90s or 1h; by default for good.")
    ] = None,
) -> None:
    """Plan an absence of agents.

    Frameworks with tasks there are asked to move them. At the start the agents are drained; at the end they
    are activated, unless an operator has drained them by hand. A new plan replaces an earlier one.
    """
    begin = moment(start, time.time())
    if begin > _LAST:
        raise InvalidInput(f"--start {start}: that is too far away; plan it when it is nearer")
    length = None if duration is None else seconds(duration, "--duration")
    if length is not None and not 0 < length <= _MAX_SECONDS:
        raise InvalidInput(f"--duration {duration}: give more than 0 and at most 3660d, or leave it out: for good")
    _said(call, call.client().schedule_maintenance(*agents, start=begin, duration=length))


def plan(call: Call) -> None:
    """List agents that are drained, deactivated or to be away.

    With the answers of the frameworks to a planned absence.
    """
    found = call.client().maintenance()
    _said(call, found.agents)
    if found.missing:
        cells = ", ".join(map(str, found.missing))
        show.note(f"bmesos: cells {cells} did not answer: their part is missing here")


def cancel(call: Call, agents: Agents) -> None:
    """Cancel the planned absence of agents.

    A drain that the schedule has begun ends; one that an operator began does not.
    """
    _said(call, call.client().cancel_maintenance(*agents))


def _said(call: Call, found: Iterable[Any]) -> None:
    if call.json:
        show.print_json([show.data(each) for each in found])
        return
    columns = ["AGENT", "HOST", "STATE", ">TASKS", "START", "FOR", "ACCEPTED", "DECLINED", "UNANSWERED"]
    rows = [
        (
            each.agent_id,
            each.hostname or "-",
            cluster.state_of(each),
            each.tasks,
            *_window(each.unavailability),
            ",".join(each.accepted) or "-",
            ",".join(each.declined) or "-",
            ",".join(each.unanswered) or "-",
        )
        for each in found
    ]
    if rows:
        show.table(columns, rows, drop=["HOST", "DECLINED", "ACCEPTED", "UNANSWERED", "TASKS", "FOR"])
    else:
        show.line("nothing is planned: every agent is offered")


def _window(window: Any) -> tuple[str, str]:
    if window is None:
        return "-", "-"
    try:
        start = datetime.fromtimestamp(window.start).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        start = f"{window.start:g}"
    return start, "good" if window.duration is None else show.duration(window.duration)


def moment(text: str, now: float) -> float:
    """``+10m`` after ``now``, or a date and time of day, in seconds since the epoch. Raises InvalidInput."""
    if text.strip().startswith("+"):
        return now + seconds(text.strip()[1:])
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{shown(text)} is no start; write it as +10m or 2031-05-04T22:00") from None
