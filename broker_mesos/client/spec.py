"""From the words that people use for a job to its exact description."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from pydantic import ValidationError

from broker_mesos.client.locality import DEFAULT_WAIT, preference
from broker_mesos.client.names import name_of
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.errors import InvalidInput

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_UNITS = {"": Decimal(1), "K": Decimal(1) / 1024, "M": Decimal(1), "G": Decimal(1024), "T": Decimal(1024**2)}
_ARRAY = re.compile(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Number = int | float | str
ArrayLike = int | str | Sequence[int]
R = TypeVar("R", bound=Request)


def made(kind: type[R], **fields: object) -> R:
    """A request from what a caller gave; InvalidInput in one line if it cannot be right."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        if name in ("job_id", "task_id", "id"):
            raise InvalidInput(
                f"{str(fields.get(name))[:64]!r} is not an id: letters, digits, '.', '_' and '-'"
            ) from None
        raise InvalidInput(first_problem(error)) from None


def megabytes(name: str, size: Number) -> Decimal:
    """An amount of memory or disk: a number of megabytes, or text such as ``512M`` or ``2G``."""
    match = _SIZE.fullmatch(str(size)) if not isinstance(size, bool) else None
    if match is None:
        raise InvalidInput(f"{name} {size!r}: write megabytes, as in 512, or a size such as 512M or 2G")
    return Decimal(match[1]) * _UNITS[match[2].upper()]


def amount(name: str, value: Number) -> Decimal:
    """An amount of cpus or gpus."""
    try:
        number = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not math.isfinite(number) or number < 0:
        raise InvalidInput(f"{name} {value!r}: write a number of at least 0, as in 0.5 or 2")
    return number


def parse_array(array: ArrayLike) -> tuple[int, int]:
    """First and last index: ``50`` is 1 to 50, ``"0-9"`` and ``(0, 9)`` are 0 to 9."""
    if not isinstance(array, int | str) and len(array) == 2:
        return array[0], array[1]
    match = _ARRAY.fullmatch(str(array))
    if match is None:  # True and lists of any other length end here as well
        raise InvalidInput(f"array {array!r}: write a number of tasks, as in 50, or FIRST-LAST, as in 0-9")
    if match[2] is not None:
        return int(match[1]), int(match[2])
    if int(match[1]) == 0:
        raise InvalidInput("array 0: an array has at least one task")
    return 1, int(match[1])


def environment(env: Mapping[str, object]) -> dict[str, str]:
    """Environment variables as text. Refuses names that no shell could use, and values that are not plain."""
    found: dict[str, str] = {}
    for name, value in env.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise InvalidInput(f"env {name!r}: a variable's name has letters, digits and _, as in LEVEL")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(f"env {name}: {value!r} is not text; put it in quotes")
        found[name] = _no_nul(f"env {name}", str(value))
    return found


def build_spec(
    command: str | Sequence[str],
    *,
    name: str = "",
    cpus: Number = 1,
    mem: Number = 128,
    disk: Number | None = None,
    gpus: Number | None = None,
    resources: str | Resources | None = None,
    array: ArrayLike | None = None,
    env: Mapping[str, object] | None = None,
    retries: int = 0,
    rerun: bool = False,
    gang: bool = False,
    revocable: bool = False,
    priority: int = 0,
    constraints: str | Constraint | Iterable[str | Constraint] = (),
    prefer: str | Constraint | Iterable[str | Constraint] = (),
    prefer_hosts: str | Iterable[str] = (),
    locality_wait: Number | None = None,
    user: str = "",
) -> JobSpec:
    """A job's description. Text as ``command`` goes to ``/bin/sh -c``, a sequence runs as it stands.

    ``mem`` and ``disk`` are megabytes or text such as ``2G``. What ``resources`` names goes before the single
    amounts. Raises InvalidInput in one line.
    """
    shell = isinstance(command, str)
    arguments = (command,) if isinstance(command, str) else tuple(command)
    if not arguments or not arguments[0] or not all(isinstance(each, str) for each in arguments):
        raise InvalidInput("a job needs a command: text for the shell, or a list of arguments")
    for each in arguments:
        _no_nul("command", each)
    if isinstance(constraints, str | Constraint):
        constraints = (constraints,)
    preferred, wait = preference(prefer, prefer_hosts, locality_wait, 0.0 if gang else DEFAULT_WAIT)
    try:
        return JobSpec(
            name=name or name_of(arguments[0], shell),
            command=CommandInfo(arguments=arguments, shell=shell, environment=environment(env or {})),
            resources=_resources(cpus, mem, disk, gpus, resources),
            array=None if array is None else parse_array(array),
            retries=retries,
            rerun=rerun,
            gang=gang,
            revocable=revocable,
            priority=priority,
            constraints=tuple(each if isinstance(each, Constraint) else Constraint.parse(each) for each in constraints),
            prefer=preferred,
            locality_wait=wait,
            user=user,
        )
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None


def _resources(
    cpus: Number, mem: Number, disk: Number | None, gpus: Number | None, more: str | Resources | None
) -> Resources:
    extra = more if isinstance(more, Resources) else Resources.parse(more or "")
    single = {"cpus": amount("cpus", cpus), "mem": megabytes("mem", mem)}
    if disk is not None:
        single["disk"] = megabytes("disk", disk)
    if gpus is not None:
        single["gpus"] = amount("gpus", gpus)
    named = set(extra.names())
    return Resources.from_mapping({key: value for key, value in single.items() if key not in named}) + extra


def _no_nul(what: str, text: str) -> str:
    if "\0" in text:
        raise InvalidInput(f"{what}: a zero byte cannot be passed to a process")
    return text
