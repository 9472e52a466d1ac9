"""``bmesos doctor --story``: the latest decisions about one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker_mesos.cli import show
from broker_mesos.cli.options import Call

if TYPE_CHECKING:
    from broker_mesos.core.api.story import DecisionView


def print_story(call: Call, ident: str, limit: int) -> None:
    """Print which input caused which decisions about a task, an agent, a framework or an offer."""
    found = call.client().story(ident, limit)
    if call.json:
        show.print_json(show.data(found))
        return
    rows = [(show.clock(each.at), each.cause_id, _cause(each), _effects(each)) for each in found.decisions]
    show.table(["TIME", "CAUSE ID", "CAUSE", "EFFECTS"], rows, drop=("CAUSE ID",))
    if found.since is not None:
        show.note(f"the owners of the cells remember all of their decisions since {show.clock(found.since)}")
    if found.missing:
        show.note(f"cells {', '.join(map(str, found.missing))} did not answer")


def _cause(each: DecisionView) -> str:
    return f"{each.cause} of {each.sender}" if each.sender else each.cause


def _effects(each: DecisionView) -> str:
    texts = [" ".join(effect) for effect in each.effects]
    if each.more:
        texts.append(f"and {each.more} more")
    return "; ".join(texts) or "none"
