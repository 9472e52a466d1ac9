"""Parses the preferred agents of a job, as the options of ``submit`` give them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from broker_mesos.client.names import shown
from broker_mesos.core.model.attributes import HOSTNAME, Constraint
from broker_mesos.core.model.locality import MAX_PREFERRED, MAX_WAIT_SECONDS
from broker_mesos.errors import InvalidInput

DEFAULT_WAIT = 5.0
"""Seconds; in the delay scheduling paper enough for 95% of the tasks."""

_WAIT = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, None: 1.0}


def preference(
    prefer: str | Constraint | Iterable[str | Constraint],
    hosts: str | Iterable[str],
    wait: float | str | None,
    default: float = DEFAULT_WAIT,
) -> tuple[tuple[Constraint, ...], float]:
    """Which agents are preferred, and for how many seconds they are waited for: ``wait`` is a number of them,
    or text such as ``5s``; None is ``default``, if any are preferred. Raises InvalidInput."""
    wanted = [prefer] if isinstance(prefer, str | Constraint) else list(prefer)
    found = [each if isinstance(each, Constraint) else Constraint.parse(each) for each in wanted]
    found += [Constraint(HOSTNAME, "==", host) for host in ([hosts] if isinstance(hosts, str) else hosts)]
    if len(found) > MAX_PREFERRED:
        raise InvalidInput(
            f"{len(found)} preferences: at most {MAX_PREFERRED}; a pattern says more, as hostname~=h[0-9]+"
        )
    if wait is None:
        return tuple(found), default if found else 0.0
    if not found:
        raise InvalidInput(
            "a locality wait without a preferred agent: add --prefer rack==r1 or --prefer-host H, or drop it"
        )
    match = _WAIT.fullmatch(str(wait).strip()) if not isinstance(wait, bool) else None
    if match is None:
        raise InvalidInput(f"locality wait {shown(wait)}: write seconds, as in 5, or a time such as 500ms, 5s or 1m")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX_WAIT_SECONDS:
        raise InvalidInput(f"locality wait {shown(wait)}: at most {MAX_WAIT_SECONDS / 3600:g}h")
    return tuple(found), seconds
