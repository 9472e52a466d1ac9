"""Declarations of a command's parameters: ``name: Annotated[str | None, Option("--name", help="…")] = None``.

Typer reads the same from declarations of its own, and is half of what a short command would take to start:
these are turned into those (in ``app``) only where typer is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from broker_mesos.client.options import JobOption, declared_in


class Option:
    """A parameter that is given by name; ``--on/--off`` for a switch that can be set either way."""

    def __init__(
        self,
        flag: str,
        *more: str,
        help: str,
        metavar: str | None = None,
        min: float | None = None,
        max: float | None = None,
        show_default: bool = True,
    ) -> None:
        self.flags = (flag, *more)
        self.help = help
        self.metavar = metavar
        self.min = min
        self.max = max
        self.show_default = show_default


class Argument:
    """A parameter that is given by its place."""

    def __init__(
        self, *, help: str, metavar: str | None = None, min: float | None = None, show_default: bool = True
    ) -> None:
        self.help = help
        self.metavar = metavar
        self.min = min
        self.max: float | None = None
        self.show_default = show_default


_HAS_KEYWORDS = 0x08
"""The flag of a code object that takes ``**options``; `inspect`, which names it, takes long to import."""


class Parameter(NamedTuple):
    """What a command takes under one name."""

    name: str
    kind: Any
    """``str``, ``float | None``, ``list[str]``…"""
    declared: Option | Argument
    default: Any = None
    required: bool = False


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """What a command takes, besides the call itself, in the order of its signature.

    ``**options: Unpack[JobOptions]`` stands for one option for each that is declared there, and so for any other
    TypedDict of annotated options.
    """
    hints = get_type_hints(function, include_extras=True)
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    positional = names[: code.co_argcount]
    given = function.__defaults__ or ()
    defaults = dict(zip(positional[len(positional) - len(given) :], given, strict=True))
    defaults.update(function.__kwdefaults__ or {})
    found = [declared(name, hints[name], name not in defaults, defaults.get(name)) for name in names[1:]]
    if code.co_flags & _HAS_KEYWORDS:
        (options,) = get_args(hints[code.co_varnames[len(names)]])
        found += [
            _job_option(name, each) if isinstance(each, JobOption) else declared(name, options.__annotations__[name])
            for name, each in declared_in(options).items()
        ]
    return found


def _job_option(name: str, option: JobOption) -> Parameter:
    described = Option(option.flag, metavar=option.metavar, help=option.help, show_default=option.kind is not bool)
    return Parameter(name, option.kind | None, described)


def declared(name: str, hint: Any, required: bool = False, default: Any = None) -> Parameter:
    """The parameter that an annotation describes."""
    assert get_origin(hint) is Annotated, name
    kind, described = get_args(hint)[:2]
    return Parameter(name, kind, described, default, required)
