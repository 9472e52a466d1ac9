"""The latest decisions of a cell about one thing, for operators."""

from __future__ import annotations

from broker_mesos.core.api.story import DecisionView, GetStory, StoryView
from broker_mesos.core.cell.state.cell_state import CellState

MAX_EFFECTS_SHOWN = 20
"""The largest number of effects of one decision in a view."""
MAX_STORY_BYTES = 600_000
"""The largest size of a view, in bytes: it is sent in one message."""
VIEW_BYTES = 300
"""Size of a decision in a view without its effects, in bytes."""


def story(state: CellState, request: GetStory) -> StoryView:
    """The latest decisions about an id, the oldest first."""
    views: list[DecisionView] = []
    size = 0
    for entry in state.log.story(request.id):
        effects = entry.about(request.id)
        shown = tuple(effects[:MAX_EFFECTS_SHOWN])
        size += VIEW_BYTES + sum(len(text) + 3 for effect in shown for text in effect)
        if len(views) >= request.limit or size > MAX_STORY_BYTES:
            break
        views.append(
            DecisionView(
                cell=state.cell,
                cause_id=f"{state.cell}-{state.term}-{entry.number}",
                at=entry.at,
                cause=entry.cause,
                sender=entry.sender,
                effects=shown,
                more=len(effects) - len(shown) + entry.dropped,
            )
        )
    return StoryView(decisions=tuple(reversed(views)), since=state.log.since)
