"""Operator requests about dead letters, answered by any master.

A letter is named by its own id, or by its message's if only one letter has that.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register

MAX_SEARCHED = 1_000
"""Letters, from the oldest on, that are looked through for one of them."""
MAX_BODY_SHOWN = 131_072
"""Characters of a body that are shown."""


class DeadLetterView(Part):
    """A dead letter, without its body."""

    letter_id: str
    message_id: str = ""
    type: str = ""
    reason: str = ""
    source: str = ""
    """The queue that it came from: ``cell-inbox.3``, ``agent-commands.<agent id>``…"""
    tries: int = 0
    """How often its handling failed; 0 if it could not be read."""
    at: float = 0.0
    """When it was put there, in seconds since the epoch; 0 if not known."""
    size: int = 0
    """Bytes of the body."""


class DeadLetterList(Part):
    """Dead letters, the oldest first. ``total`` counts all there are."""

    letters: tuple[DeadLetterView, ...] = ()
    total: int = 0
    truncated: bool = False
    """Whether there are more behind these."""
    after: str = ""
    """Where the next page begins, if there is one: the ``after`` of the next request."""


@register
class ListDeadLetters(Request):
    """The oldest dead letters, or those behind the letter ``after``. Only the oldest 1,000 can be listed:
    the others can be once these are sent again or dropped."""

    TYPE = "LIST_DEAD_LETTERS"
    ANSWER = DeadLetterList
    ROUTE = Route.MASTER
    FOR_USERS = True
    limit: int = Field(default=100, ge=0, le=MAX_SEARCHED)
    after: str = Field(default="", max_length=255)
    """The id of the last letter of the page before."""


class DeadLetterDetail(Part):
    """A dead letter with its body as text, its beginning only if ``cut``."""

    letter: DeadLetterView
    body: str
    cut: bool = False
    headers: dict[str, str] = Field(default_factory=dict)


@register
class GetDeadLetter(Request):
    """One dead letter."""

    TYPE = "GET_DEAD_LETTER"
    ANSWER = DeadLetterDetail
    ROUTE = Route.MASTER
    FOR_USERS = True
    letter_id: str = Field(min_length=1, max_length=255)


class DeadLettersSettled(Part):
    """How many letters were sent again or dropped, and what became of the others."""

    settled: int
    failed: tuple[str, ...] = ()
    """Why some stay, a line for each of the first ones."""
    left: int = 0
    """Letters that are there still."""


@register
class RetryDeadLetters(Request):
    """Send a dead letter (or all there are) again to the queue that it came from. It is removed once it is
    safe there."""

    TYPE = "RETRY_DEAD_LETTERS"
    ANSWER = DeadLettersSettled
    ROUTE = Route.MASTER
    FOR_USERS = True
    letter_id: str = Field(default="", max_length=255)
    """Empty: all."""


@register
class DropDeadLetters(Request):
    """Remove a dead letter, or all there are, for good."""

    TYPE = "DROP_DEAD_LETTERS"
    ANSWER = DeadLettersSettled
    ROUTE = Route.MASTER
    FOR_USERS = True
    letter_id: str = Field(default="", max_length=255)
    """Empty: all."""
