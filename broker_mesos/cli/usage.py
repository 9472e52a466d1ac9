"""What typer finds about a command line, in our words; loaded only when there is such a finding."""

from __future__ import annotations

import re

from broker_mesos.cli.commands import COMMANDS, Command, find

_WORDINGS = (
    ("Input should be a valid integer, unable to parse string as an integer", "write a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "write a number"),
    ("Input should be greater than or equal to ", "write at least "),
    ("Input should be less than or equal to ", "write at most "),
    ("Value error, ", ""),
)
_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)


def usage_problem(error: Exception, said: str) -> str:
    """One line for an error of typer, whose own text is ``said``: what is wrong, and what to do next."""
    path = str(getattr(getattr(error, "ctx", None), "command_path", "bmesos"))
    said = said.rstrip(".")
    if (extra := _EXTRA.fullmatch(said)) is not None:
        command = find(COMMANDS, path.removeprefix("bmesos "))
        if isinstance(command, Command) and command.takes_command:
            return f"unexpected word {extra[1].split()[0]!r}; a command goes after --: {path} -- echo hello"
        said = f"unexpected word {extra[1]!r}"
    for theirs, ours in _WORDINGS:
        said = said.replace(theirs, ours)
    return f"{said}; see `{path} --help`"
