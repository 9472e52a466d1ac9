"""The allocation policies that a cluster may choose from: the built-in ones, and installed ones.

A package offers a policy as an entry point of the group ``broker_mesos.policies``, whose name is the policy's
and whose value leads to an object that is a ``Policy``::

    [project.entry-points."broker_mesos.policies"]
    smallest-first = "my_package:SMALLEST_FIRST"

All masters of a cluster must have it installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.cell.allocation.policies.policy import Policy
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.logs import get_logger

GROUP = "broker_mesos.policies"

log = get_logger(__name__)


def load_policies() -> dict[str, Policy]:
    """Built-in and installed policies by name. What cannot be used is left out, with a logged warning."""
    found = dict(BUILT_IN)
    seen: dict[str, str] = {}
    try:
        installed = sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value))
    except Exception as error:  # one broken package must not keep a master from starting
        log.warning("installed policies cannot be listed", reason=_line(error))
        return found
    for entry in installed:
        if entry.name in found:
            # The same package may be found twice, in an editable install for instance.
            if entry.name in BUILT_IN or entry.value != seen[entry.name]:
                _skipped(entry, "another policy has this name")
            continue
        policy = _loaded(entry)
        if policy is not None:
            found[entry.name] = policy
            seen[entry.name] = entry.value
    return found


def policy_named(name: str, policies: Mapping[str, Policy]) -> Policy:
    """The policy of this name. InvalidInput, listing the known ones, if there is none."""
    if name not in policies:
        shown = name if len(name) <= 80 else name[:79] + "…"
        raise InvalidInput(f"there is no policy {shown!r}: choose one of {', '.join(sorted(policies))}")
    return policies[name]


def _loaded(entry: EntryPoint) -> Policy | None:
    try:
        policy = entry.load()
    except (Exception, SystemExit) as error:  # whatever its module does when it is imported
        _skipped(entry, _line(error))
        return None
    if isinstance(policy, type):
        _skipped(entry, "it is a class: name an object of it")
    elif not isinstance(policy, Policy):
        _skipped(entry, "it is no Policy: it needs the methods rank and precedes")
    else:
        return policy
    return None


def _skipped(entry: EntryPoint, reason: str) -> None:
    log.warning("installed policy is left out", policy=entry.name, entry_point=entry.value, reason=reason)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
