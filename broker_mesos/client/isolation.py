"""Reads the options of a job about limits and isolation, as people write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from broker_mesos.client.durations import written
from broker_mesos.client.names import shown
from broker_mesos.client.options import JobOptions, Number
from broker_mesos.errors import InvalidInput

GUARD = "isolation-of-a-later-release"
"""See ``core.model.job.GUARD``: the cluster may be of a release that does not know ``isolation``."""
NOT_LIMITED = ("inf", "unlimited")
_CHOICES = {
    "require_isolation": ("level", ("limits", "sandboxed")),
    "network": ("network", ("host", "none")),
    "oom": ("oom", ("kill", "ignore")),
}
"""By option: the field of TaskIsolation, and its values."""
_LIMIT = "write limits of cpus and mem, as in cpus=4,mem=2G or mem=inf"
_RLIMIT = "write numbers, as in nofile=65536,core=0, or inf"

Pairs = str | Iterable[str] | Mapping[str, Any]
"""``a=1,b=2``, several such texts, or a table."""


def isolation_of(options: JobOptions) -> dict[str, Any]:
    """The JSON form of the ``TaskIsolation`` of a job; empty if it demands nothing. Raises InvalidInput."""
    found: dict[str, Any] = {}
    given: Mapping[str, Any] = options
    for name, (field, values) in _CHOICES.items():
        if (value := given.get(name)) is not None:
            if value not in values:
                raise InvalidInput(f"{name} {shown(value)}: write {' or '.join(values)}")
            found[field] = value
    if (pids := options.get("pids")) is not None:
        if isinstance(pids, bool) or not isinstance(pids, int) or pids < 1:
            raise InvalidInput(f"pids {shown(pids)}: write a number of processes of at least 1")
        found["pids"] = pids
    if (rlimits := options.get("rlimit")) is not None:
        found["rlimits"] = {name: _rlimit(name, value) for name, value in _pairs("rlimit", rlimits, _RLIMIT)}
    if options.get("pin"):
        found["pin"] = True
    for name in ("rootfs", "image"):
        if (text := given.get(name)) is not None:
            if not text:
                raise InvalidInput(f"{name} is empty: leave it out, or name one")
            found[name] = str(text)
    return found


def limits_of(
    limit: Pairs | None, stated: str, megabytes: Callable[[str, Number], str], amount: Callable[[str, Number], str]
) -> str:
    """The limits of a job: those of the option ``limit`` in place of the ``stated`` memory, as ``mem:64`` or empty.
    ``megabytes`` and ``amount`` convert single ones. Raises InvalidInput."""
    found = dict([stated.split(":")]) if stated else {}
    for name, value in () if limit is None else _pairs("limit", limit, _LIMIT):
        if name not in ("cpus", "mem"):
            raise InvalidInput(f"limit {shown(name)}: {_LIMIT}")
        found.pop(name, None)
        if written(value).strip() not in NOT_LIMITED:
            found[name] = megabytes("limit mem", value) if name == "mem" else amount("limit cpus", value)
    return ";".join(f"{name}:{value}" for name, value in sorted(found.items()))


def _pairs(option: str, given: Pairs, form: str) -> Sequence[tuple[str, Any]]:
    if isinstance(given, Mapping):
        pairs = [(str(name), value) for name, value in given.items()]
    else:
        texts = given.split(",") if isinstance(given, str) else [each for text in given for each in text.split(",")]
        pairs = []
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or not value.strip():
                raise InvalidInput(f"{option} {shown(text)}: {form}")
            pairs.append((name.strip(), value.strip()))
    if len(names := [name for name, _ in pairs]) > len(set(names)):
        raise InvalidInput(f"{option} {shown(next(each for each in names if names.count(each) > 1))} is given twice")
    return pairs


def _rlimit(name: str, value: object) -> int:
    text = written(value).strip()
    if text in (*NOT_LIMITED, "-1"):
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise InvalidInput(f"rlimit {name[:40]}={shown(value)}: {_RLIMIT}")
    return int(text)
