"""The options by which commands choose jobs."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

from broker_mesos.cli.declare import Option
from broker_mesos.client.durations import seconds_of
from broker_mesos.core.model.roles import check_role
from broker_mesos.errors import InvalidInput

ALL_STATES = ("pending", "running", "finished", "failed", "killed")

States = Annotated[
    list[str] | None,
    Option("--state", metavar="STATE", help="Only jobs in this state; repeatable, or as STATE,STATE."),
]
Name = Annotated[str | None, Option("--name", metavar="PATTERN", help="Only jobs whose name matches, as 'train-*'.")]
User = Annotated[str | None, Option("--user", metavar="USER", help="Only jobs of this user; 'me' for yours.")]
Role = Annotated[
    str | None, Option("--role", metavar="ROLE", help="Only jobs of this role, and of the roles below it.")
]


def filter_of(
    states: list[str] | None,
    name: str | None,
    user: str | None,
    role: str | None,
    since: str | None = None,
    until: str | None = None,
    allowed: tuple[str, ...] = ALL_STATES,
) -> dict[str, Any]:
    """The fields of a ``JobFilter``, from the options. Raises InvalidInput."""
    wanted = tuple(state.strip() for each in states or () for state in each.split(","))
    for state in wanted:
        if state not in allowed:
            raise InvalidInput(f"--state {state[:80]!r}: the states are {', '.join(allowed)}")
    for flag, value in (("--name", name), ("--user", user), ("--role", role)):
        if value == "":
            raise InvalidInput(f"{flag} is empty; leave it out for any")
    if role is not None:
        check_role(role)
    if user == "me":
        from broker_mesos.client.names import user_name

        user = user_name()
        if not user:
            raise InvalidInput("--user me: this system does not tell who you are; give the user's name")
    now = time.time()
    found: dict[str, Any] = {"states": wanted, "name": name or "", "user": user or "", "role": role or ""}
    for flag, text in (("since", since), ("until", until)):
        if text is not None:
            found[flag] = moment(f"--{flag}", text, now)
    return found


def moment(flag: str, text: str, now: float) -> float:
    """Seconds since the epoch: ``2h`` is two hours before ``now``, else a date, or a date and a time of day, in
    local time. Raises InvalidInput."""
    if (ago := seconds_of(text)) is not None:
        return now - ago
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(
            f"{flag} {text[:80]!r}: write how long ago, as 2h or 3d, or a date, as 2031-05-04T22:00"
        ) from None
