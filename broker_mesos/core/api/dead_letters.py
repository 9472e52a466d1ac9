"""Operator requests about dead letters, answered by any master.

A dead letter is named by its own id, or by the id of its message if only one dead letter has that.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register

MAX_SEARCHED = 1_000
"""The largest number of dead letters that are searched for one of them, beginning with the oldest."""
MAX_BODY_SHOWN = 131_072
"""The largest number of characters of a body that are shown."""


class DeadLetterView(Part):
    """A dead letter, without its body."""

    letter_id: str
    message_id: str = ""
    type: str = ""
    reason: str = ""
    source: str = ""
    """The queue that it was consumed from, such as ``cell-inbox.3`` or ``agent-commands.<agent id>``."""
    tries: int = 0
    """How often its handling has failed; 0 if it could not be decoded."""
    at: float = 0.0
    """When it became a dead letter, in seconds since the epoch; 0 if that is not known."""
    size: int = 0
    """Size of the body, in bytes."""


class DeadLetterList(Part):
    """A page of dead letters, the oldest first. ``total`` is the number of all dead letters."""

    letters: tuple[DeadLetterView, ...] = ()
    total: int = 0
    truncated: bool = False
    """Whether there are more dead letters after these."""
    after: str = ""
    """The ``after`` for the request of the next page; empty if there is none."""


@register
class ListDeadLetters(Request):
    """List the oldest dead letters, or those that follow the dead letter ``after``. Only the oldest 1,000 can be
    listed; the others become accessible once these are sent again or dropped."""

    TYPE = "LIST_DEAD_LETTERS"
    RIGHT = Right.LETTERS
    ANSWER = DeadLetterList
    ROUTE = Route.MASTER
    FOR_USERS = True
    limit: int = Field(default=100, ge=0, le=MAX_SEARCHED)
    after: str = Field(default="", max_length=255)
    """Id of the last dead letter of the previous page."""


class DeadLetterDetail(Part):
    """A dead letter with its body as text. If ``cut`` is set, ``body`` is only the beginning of it."""

    letter: DeadLetterView
    body: str
    cut: bool = False
    headers: dict[str, str] = Field(default_factory=dict)


@register
class GetDeadLetter(Request):
    """Get one dead letter with its body."""

    TYPE = "GET_DEAD_LETTER"
    RIGHT = Right.LETTERS
    ANSWER = DeadLetterDetail
    ROUTE = Route.MASTER
    FOR_USERS = True
    letter_id: str = Field(min_length=1, max_length=255)


class DeadLettersSettled(Part):
    """The number of dead letters that were sent again or dropped, and the failures."""

    settled: int
    failed: tuple[str, ...] = ()
    """Why some dead letters could not be handled: one line for each of the first failures."""
    left: int = 0
    """Number of dead letters that are left."""


@register
class RetryDeadLetters(Request):
    """Send a dead letter, or all of them, again to the queue that it was consumed from. It is removed once the
    broker has confirmed it in that queue."""

    TYPE = "RETRY_DEAD_LETTERS"
    RIGHT = Right.LETTERS
    ANSWER = DeadLettersSettled
    ROUTE = Route.MASTER
    FOR_USERS = True
    letter_id: str = Field(default="", max_length=255)
    """Id of the dead letter; empty for all."""


@register
class DropDeadLetters(Request):
    """Remove a dead letter, or all of them, permanently."""

    TYPE = "DROP_DEAD_LETTERS"
    RIGHT = Right.LETTERS
    ANSWER = DeadLettersSettled
    ROUTE = Route.MASTER
    FOR_USERS = True
    letter_id: str = Field(default="", max_length=255)
    """Id of the dead letter; empty for all."""
