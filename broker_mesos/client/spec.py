"""Converts the options of a job, as people write them, into its description on the wire.

Imports no models: :func:`describe` makes JSON, which whoever receives it validates. What is rare, or has a
grammar of its own, is left to the models' own parsers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from broker_mesos.client.durations import seconds_of, written
from broker_mesos.client.names import check_name, name_of, shown
from broker_mesos.client.options import ArrayLike, JobOptions, Number
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from os import PathLike

    from broker_mesos.core.model.job import JobSpec
    from broker_mesos.core.model.job_array import ArrayOptions

# Compiled when they are used: most jobs need none of them.
_SIZE = r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([KMGT]?)(?:i?B)?\s*"
_UNITS = {"": 0, "K": -1, "M": 0, "G": 1, "T": 2}
"""Powers of 1,024."""
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_.-]*"
MAX_NUMBER = 40
"""The longest number that is read, in characters."""
MAX_TIME_LIMIT_SECONDS = 366 * 86_400
_ISOLATION = frozenset(
    ("limit", "require_isolation", "pids", "rlimit", "pin", "network", "rootfs", "image", "oom"),
)
_PLACEMENT = frozenset(("ports", "port_names", "most", "per"))
_AS_THEY_ARE = ("retries", "rerun", "gang", "revocable", "priority")


def describe(command: str | Sequence[str], user: str = "", **options: Unpack[JobOptions]) -> dict[str, Any]:
    """The JSON form of a ``JobSpec``. Text as ``command`` is for ``/bin/sh -c``, a sequence runs as it stands.

    ``mem`` and ``disk`` are megabytes or text such as ``2G``. A resource that ``resources`` names replaces the
    single amount. Raises InvalidInput in one line; bounds are left to the models.
    """
    shell = isinstance(command, str)
    arguments = [command] if isinstance(command, str) else list(command)
    if not arguments or not arguments[0] or not all(isinstance(each, str) for each in arguments):
        raise InvalidInput("a job needs a command: text for the shell, or a list of arguments")
    for each in arguments:
        _passable("command", each)
    spec: dict[str, Any] = {
        "name": check_name(_passable("name", name)) if (name := options.get("name")) else name_of(arguments[0], shell),
        "command": {
            "arguments": arguments,
            "shell": shell,
            "environment": environment(options.get("env") or {}),
        },
        "resources": _resources(options),
        "user": user,
    }
    limits = _stated_limits(options, spec["resources"])
    if not _ISOLATION.isdisjoint(options):
        from broker_mesos.client.isolation import isolation_of, limits_of

        limits = limits_of(options.get("limit"), limits, megabytes, amount)
        if (isolation := isolation_of(options)) or "cpus:" in limits:
            spec["isolation"] = isolation
    if limits:
        spec["limits"] = limits
    array = options.get("array")
    if array is not None:
        _put_array(spec, array)
    for name in _AS_THEY_ARE:
        if name in options:
            spec[name] = options[name]  # type: ignore[literal-required]
    _put_constraints(spec, options)
    if not _PLACEMENT.isdisjoint(options) or "constraints" in spec:
        from broker_mesos.client.placement import put_placement

        put_placement(spec, options)
    if "isolation" in spec:
        from broker_mesos.client.isolation import GUARD

        spec["constraints"] = [*spec.get("constraints", ()), GUARD]
    _put_files(spec, options)
    if (role := options.get("role")) is not None:
        from broker_mesos.core.model.roles import check_role

        spec["role"] = check_role(role)
    if (size := options.get("max_output")) is not None:
        spec["max_output"] = max_output(size)
    if (limit := options.get("time_limit")) is not None:
        spec["time_limit"] = time_limit(limit)
    if (codes := options.get("retry_on")) is not None:
        spec["retry_on"] = exit_codes(codes)
    if (after := options.get("after")) is not None:
        from broker_mesos.core.model.job import Dependency

        texts = after.split(",") if isinstance(after, str) else after
        spec["after"] = [Dependency.parse(text).model_dump() for text in texts]
    return spec


def build_spec(command: str | Sequence[str], user: str = "", **options: Unpack[JobOptions]) -> JobSpec:
    """The same as a model, with every bound checked. Raises InvalidInput in one line."""
    from pydantic import ValidationError

    from broker_mesos.core.model.job import JobSpec
    from broker_mesos.core.protocol.wire import first_problem

    try:
        return JobSpec.model_validate(describe(command, user, **options))
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None


def megabytes(name: str, size: Number) -> str:
    """An amount of memory or disk in megabytes: of a number of them, or of text such as ``512M`` or ``2G``."""
    text = written(size)
    if _is_plain(text):
        return text
    match = re.fullmatch(_SIZE, text, re.IGNORECASE) if len(text) <= MAX_NUMBER else None
    if match is None:
        raise InvalidInput(f"{name} {shown(size)}: write megabytes, as in 512, or a size such as 512M or 2G")
    return _shifted(match[1], _UNITS[match[2].upper()])


def amount(name: str, value: Number) -> str:
    """An amount of cpus or gpus as plain decimal text."""
    text = written(value).strip()
    if _is_plain(text):
        return text
    from decimal import Decimal, InvalidOperation

    try:
        number = Decimal(text)  # 1e-05, which is how Python writes a small float
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or number < 0 or number.adjusted() > 30:
        raise InvalidInput(f"{name} {shown(value)}: write a number of at least 0, as in 0.5 or 2")
    return f"{number:f}"


def parse_array(array: ArrayLike) -> ArrayOptions:
    """``50`` is 1 to 50, ``"0-9"`` and ``(0, 9)`` are 0 to 9; text may have steps, lists and a number of tasks
    at a time, as ``1-10:3,20%2``. Raises InvalidInput."""
    from broker_mesos.core.model import job_array

    if isinstance(array, int | str):
        return job_array.parse_array(str(array))
    if len(array) != 2:
        raise InvalidInput(f"array {shown(array)}: write a number of tasks, FIRST and LAST, or text such as 1-10:3,20")
    return job_array.ArrayOptions((array[0], array[1]))


def time_limit(value: Number) -> float:
    """Seconds: of a number of them, or of text such as ``30s``, ``5m``, ``2h`` or ``HH:MM:SS``. Raises
    InvalidInput."""
    seconds = seconds_of(value)
    if seconds is None or not 0 < seconds <= MAX_TIME_LIMIT_SECONDS:
        days = MAX_TIME_LIMIT_SECONDS // 86_400
        raise InvalidInput(f"time limit {shown(value)}: write up to {days} days, as in 30s, 5m, 2h, 1d or HH:MM:SS")
    return seconds


def max_output(size: Number) -> int:
    """The size of an output file, in whole megabytes. Raises InvalidInput."""
    text = megabytes("max_output", size)
    whole, _, fraction = text.partition(".")
    if fraction.strip("0") or not whole.strip("0"):
        raise InvalidInput(f"max_output {shown(size)}: write whole megabytes, at least 1, as in 64 or 2G")
    return int(whole)


def exit_codes(codes: str | int | Iterable[int | str]) -> list[int]:
    """Exit codes from 1 to 255: of one, of several, or of text such as ``75,137``. Raises InvalidInput."""
    parts = codes.split(",") if isinstance(codes, str) else [codes] if isinstance(codes, int) else list(codes)
    texts = [str(part).strip() for part in parts]
    if not texts or not all(
        text.isascii() and text.isdecimal() and 1 <= int(text[:4]) <= 255 and len(text) <= 18 for text in texts
    ):
        raise InvalidInput(f"exit codes {shown(codes)}: write codes from 1 to 255, as in 75,137")
    return [int(text) for text in texts]


def environment(env: Mapping[str, object]) -> dict[str, str]:
    """Environment variables as text. Refuses names that programs do not use, and values that are not plain."""
    found: dict[str, str] = {}
    for name, value in env.items():
        if not isinstance(name, str) or not re.fullmatch(_VARIABLE, name):
            raise InvalidInput(
                f"env {shown(name)}: a variable's name has letters, digits, '_', '.' and '-', a letter or '_' first"
            )
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(f"env {name[:80]}: {shown(value)} is not text; put it in quotes")
        found[name] = _passable(f"env {name}", str(value))
    return found


def _put_files(spec: dict[str, Any], options: JobOptions) -> None:
    """Put the working directory, the input, the names of output files and the user into the JSON of a job."""
    found: dict[str, str] = {}
    for name, field in (("chdir", "directory"), ("stdout", "stdout"), ("stderr", "stderr")):
        if (text := options.get(name)) is not None:
            if not text:
                raise InvalidInput(
                    f"{name} is empty: leave it out, or name a {'folder' if name == 'chdir' else 'file'}"
                )
            found[field] = _passable(name, str(text))
    if found:
        from broker_mesos.core.model.sandbox_path import check_directory, check_patterns

        check_directory(found.get("directory", ""))
        values = {"j": "job", "a": "0", "n": spec["name"], "u": spec["user"]}
        check_patterns(found.get("stdout", ""), found.get("stderr", ""), values)
    if (task_user := options.get("task_user")) is not None:
        from broker_mesos.core.model.task_user import check_task_user

        if not task_user:
            raise InvalidInput("task_user is empty: leave it out, or name a user of the agents' machines")
        found["user"] = check_task_user(task_user)
    if (source := options.get("stdin")) is not None:
        found["stdin"] = read_stdin(source)
    spec["command"].update(found)


def read_stdin(source: bytes | str | PathLike[str]) -> str:
    """The input of a task, in base64: bytes, or what is in a file here. Raises InvalidInput."""
    from broker_mesos.core.model.task_input import MAX_STDIN_BYTES, encode_stdin

    if isinstance(source, bytes):
        return encode_stdin(source)
    try:
        with open(source, "rb") as file:
            return encode_stdin(file.read(MAX_STDIN_BYTES + 1), f"stdin {source}")
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"cannot read stdin {str(source)!r}: {reason}") from None


def _put_array(spec: dict[str, Any], text: ArrayLike) -> None:
    array, ranges, max_running = parse_array(text)
    spec["array"] = array
    if ranges:
        spec["ranges"] = ranges
    if max_running:
        spec["max_running"] = max_running


def _resources(options: JobOptions) -> str:
    more = options.get("resources")
    singles = {"cpus": amount("cpus", options.get("cpus", 1)), "mem": megabytes("mem", options.get("mem", 128))}
    disk, gpus = options.get("disk"), options.get("gpus")
    if disk is not None:
        singles["disk"] = megabytes("disk", disk)
    if gpus is not None:
        singles["gpus"] = amount("gpus", gpus)
    if more:
        from broker_mesos.core.model.resources import Resources

        extra = more if isinstance(more, Resources) else Resources.parse(more)
        kept = {name: value for name, value in singles.items() if name not in set(extra.names())}
        return str(Resources.from_mapping(kept) + extra)
    return ";".join(f"{name}:{value}" for name, value in singles.items())


def _stated_limits(options: JobOptions, resources: str) -> str:
    """What agents hold the tasks to: the memory, if it is stated; not the default, which is a guess."""
    more = options.get("resources") or ""
    parts = more.split(";") if isinstance(more, str) else [f"{name}:" for name in more.names()]
    if options.get("mem") is None and not any(each.strip().startswith("mem:") for each in parts):
        return ""
    return next((each for each in resources.split(";") if each.startswith("mem:")), "")


def _put_constraints(spec: dict[str, Any], options: JobOptions) -> None:
    constraints: Any = options.get("constraints") or ()
    prefer, hosts, wait = options.get("prefer") or (), options.get("prefer_hosts") or (), options.get("locality_wait")
    if not constraints and not prefer and not hosts and wait is None:
        return
    from broker_mesos.client.locality import DEFAULT_WAIT, preference
    from broker_mesos.core.model.attributes import Constraint

    if isinstance(constraints, str | Constraint):
        constraints = (constraints,)
    found: Iterable[Constraint] = (
        each if isinstance(each, Constraint) else Constraint.parse(each) for each in constraints
    )
    spec["constraints"] = [str(each) for each in found]
    preferred, seconds = preference(prefer, hosts, wait, 0.0 if options.get("gang") else DEFAULT_WAIT)
    spec["prefer"] = [str(each) for each in preferred]
    spec["locality_wait"] = seconds


def _is_plain(text: str) -> bool:
    """Whether text is a decimal number without a sign or an exponent."""
    return len(text) <= MAX_NUMBER and text.isascii() and text.replace(".", "", 1).isdecimal()


def _shifted(text: str, power: int) -> str:
    """A decimal number times a power of 1,024, exactly."""
    if power == 0:
        return text
    whole, _, fraction = text.partition(".")
    number, digits = int(whole + fraction), len(fraction)
    if power > 0:
        number *= 1024**power
    else:  # 1 / 1024 is 5**10 / 10**10
        number, digits = number * 5**10, digits + 10
    padded = str(number).zfill(digits + 1)
    return f"{padded[: len(padded) - digits]}.{padded[len(padded) - digits :]}".rstrip("0").rstrip(".")


def _passable(what: str, text: str) -> str:
    if "\0" in text:
        raise InvalidInput(f"{what}: a zero byte cannot be passed to a process")
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line that are no text arrive as lone surrogates
        raise InvalidInput(f"{what}: {text[:40]!r} is not UTF-8 text") from None
    return text
