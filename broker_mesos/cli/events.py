"""``bmesos events``: what has happened in the cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from broker_mesos.cli import show
from broker_mesos.cli.declare import Option
from broker_mesos.cli.options import Call
from broker_mesos.errors import Unavailable

if TYPE_CHECKING:
    from broker_mesos.core.model.event import Event

FOLLOW_SECONDS = 1.0
"""Interval between two requests for events that follow, in seconds."""


def events(
    call: Call,
    follow: Annotated[bool, Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    kind: Annotated[
        list[str] | None,
        Option("--kind", metavar="KIND", help="Only events of this kind: agent, or task.failed. May be repeated."),
    ] = None,
    limit: Annotated[int, Option("--limit", min=1, max=1_000, metavar="N", help="Show the latest N events.")] = 50,
    after: Annotated[
        str, Option("--after", metavar="ID", help="Show those behind this event.", show_default=False)
    ] = "",
) -> None:
    """Show what has happened in the cluster.

    Agents, frameworks and tasks that have entered a state, and cells that have a new owner.

    Masters keep about 20,000 events. Many tasks that enter one state within a second are one event.
    """
    client, kinds = call.client(), tuple(kind or ())
    found = client.events(after=after, kinds=kinds, limit=limit)
    if not follow and call.json:
        show.print_json([show.data(each) for each in found.events])
        return
    if not (found.events or follow):
        show.line("nothing has happened" + (" of this kind" if kinds else ""))
    while True:
        if found.lost:
            show.note("bmesos: events before these are lost: masters do not keep them for longer")
        _print(call, found.events)
        if not follow:
            if found.more:
                show.note(f"… and more: use --after {found.last}")
            return
        last = found.last
        while True:
            if not found.more:
                time.sleep(FOLLOW_SECONDS)
            try:
                found = client.events(after=last, kinds=kinds, limit=1_000)
                break
            except Unavailable as error:
                show.note(f"bmesos: {error}")


def _print(call: Call, events: Sequence[Event]) -> None:
    for event in events:
        if call.json:
            print(event.model_dump_json())
        else:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
            show.line(f"{at}  {event.kind:<24}  {show.clean(event.text)}")
    sys.stdout.flush()
