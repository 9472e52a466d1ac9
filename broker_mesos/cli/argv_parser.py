"""Parses a command line that is plainly valid; typer parses all others, and reports their errors.

What is read here is read as typer reads it. Wherever that is in doubt the answer is None: an unknown or
missing word, a number that is out of bounds or written in an odd way, a call for help.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from broker_mesos.cli.commands import COMMANDS, Command, Group, find
from broker_mesos.cli.declare import Argument, Option, Parameter, parameters
from broker_mesos.cli.options import COMMON, Output

_INTEGER = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


class Found(NamedTuple):
    """A command, and the values to call it with."""

    command: Command
    function: Callable[..., Any]
    values: dict[str, Any]
    above: dict[str, Any]
    """Common options that stood before the command's name."""


class _Doubt(Exception):
    """Not plainly right."""


def read(words: Sequence[str]) -> Found | None:
    """What a command line asks for, if it is plainly right."""
    try:
        return _read(words)
    except _Doubt:
        return None


def _read(words: Sequence[str]) -> Found:
    above: dict[str, Any] = {}
    at = _options(words, 0, _flags(COMMON), above)
    place: Command | Group | None = find(COMMANDS, words[at]) if at < len(words) else None
    at += 1
    while isinstance(place, Group):
        if place.alone is not None:
            own = _flags(parameters(place.alone.function()))
            if any(word.partition("=")[0] in own for word in words[at:]):
                place = place.alone
                break
            at = _options(words, at, _flags(COMMON), above)
        if at >= len(words):
            place = place.alone
            break
        place = find(place.members, words[at])
        at += 1
    if place is None:
        raise _Doubt
    function = place.function()
    taken = [*parameters(function), *(COMMON if place.common else ())]
    values: dict[str, Any] = {each.name: each.default for each in taken}
    arguments: list[str] = []
    flags = _flags(taken)
    while at < len(words):
        at = _options(words, at, flags, values)
        if at < len(words):
            arguments.append(words[at])
            at += 1
    _fill([each for each in taken if isinstance(each.declared, Argument)], arguments, values)
    return Found(place, function, values, above)


def _flags(taken: Sequence[Parameter]) -> dict[str, tuple[Parameter, bool]]:
    """Parameters by flag, each with the value that the flag means if it is a switch."""
    found = {}
    for each in taken:
        if isinstance(each.declared, Option):
            for flag in each.declared.flags:
                on, _, off = flag.partition("/")
                found[on.strip()] = (each, True)
                if off:
                    found[off.strip()] = (each, False)
    return found


def _options(words: Sequence[str], at: int, flags: Mapping[str, tuple[Parameter, bool]], values: dict[str, Any]) -> int:
    """Read options from ``at`` on, into ``values``; returns where the first other word is."""
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        flag, equals, text = words[at].partition("=")
        if _together(flag, flags):  # -it is -i -t
            for letter in flag[1:]:
                parameter, switch = flags[f"-{letter}"]
                values[parameter.name] = switch
            at += 1
            continue
        if flag not in flags or (equals and not flag.startswith("--")):
            raise _Doubt
        parameter, switch = flags[flag]
        kind = _plain(parameter.kind)
        at += 1
        if kind is bool:
            if equals:
                raise _Doubt
            values[parameter.name] = switch
            continue
        if not equals:
            if at >= len(words) or words[at].startswith("-"):
                raise _Doubt
            text = words[at]
            at += 1
        if kind == list[str]:
            values[parameter.name] = [*(values.get(parameter.name) or ()), text]
        else:
            values[parameter.name] = _value(parameter, kind, text)
    return at


def _together(word: str, flags: Mapping[str, tuple[Parameter, bool]]) -> bool:
    """Whether a word is several switches of one letter."""
    letters = [f"-{letter}" for letter in word[1:]]
    return len(letters) > 1 and all(each in flags and _plain(flags[each][0].kind) is bool for each in letters)


def _fill(declared: Sequence[Parameter], words: list[str], values: dict[str, Any]) -> None:
    for each in declared:
        kind = _plain(each.kind)
        if kind == list[str]:
            if words:
                values[each.name], words = words, []
            elif each.required:
                raise _Doubt
        elif words:
            values[each.name] = _value(each, kind, words.pop(0))
        elif each.required:
            raise _Doubt
    if words:
        raise _Doubt


def _plain(kind: Any) -> Any:
    """``str`` for ``str | None``."""
    rest = [each for each in get_args(kind) if each is not type(None)]
    return rest[0] if type(None) in get_args(kind) and len(rest) == 1 else kind


def _value(parameter: Parameter, kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if kind.__name__ == "Path":  # pathlib takes longer to import than most commands need for all the rest
        return kind(text)
    if kind is Output and text in Output.__members__:
        return Output[text]
    if (kind is int and _INTEGER.fullmatch(text)) or (kind is float and _NUMBER.fullmatch(text)):
        value = kind(text)
        low, high = parameter.declared.min, parameter.declared.max
        if (low is None or value >= low) and (high is None or value <= high):
            return value
    raise _Doubt
