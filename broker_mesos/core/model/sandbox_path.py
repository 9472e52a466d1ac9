"""Paths in a task's sandbox, and the patterns from which the names of output files are made."""

from __future__ import annotations

import re
from collections.abc import Mapping

from broker_mesos.errors import InvalidInput

MAX_PATH = 4_096
"""The longest path, in characters."""
MAX_NAME = 1_000
"""The longest name of a job's output file, in characters: each of its tasks is sent with one."""
OWN_FILES = frozenset({"stdin", "stdout", "stderr"})
"""Files that the agent itself makes in a sandbox."""
SYMBOLS = {
    "j": "job id",
    "a": "array index",
    "n": "job name",
    "u": "user",
    "%": "percent sign",
}
"""What may follow after ``%`` in a pattern."""
ALIASES = {"A": "j", "x": "n"}
"""Slurm's symbols with the same meaning."""

_SYMBOL = re.compile(r"%(.?)", re.DOTALL)


def is_sandbox_path(path: str) -> bool:
    """Whether a path leads to something in the sandbox: it is relative, and has no part that is empty, ``.`` or
    ``..``."""
    return 0 < len(path) <= MAX_PATH and "\0" not in path and not {"", ".", ".."}.intersection(path.split("/"))


def check_output_name(name: str) -> str:
    """Check the name of an output file, and return it. Raises InvalidInput."""
    if name and not is_sandbox_path(name):
        raise InvalidInput(
            f"{name[:80]!r} is not the name of a file in the task's sandbox, such as out/result.txt; to write"
            " elsewhere, let the command do it: --shell './work > /data/out.txt'"
        )
    if name in OWN_FILES:
        raise InvalidInput(f"{name!r} is a file of every sandbox; choose another name")
    return name


def check_directory(path: str) -> str:
    """Check the folder in which a command runs, and return it. Raises InvalidInput."""
    if path and ("\0" in path or len(path) > MAX_PATH or not (path.startswith("/") or is_sandbox_path(path))):
        raise InvalidInput(
            f"{path[:80]!r} is neither an absolute path nor one within the task's sandbox, such as build"
        )
    return path


def check_patterns(stdout: str, stderr: str, values: Mapping[str, str]) -> None:
    """Check the patterns of a job's output files by the names that they make with values as one of its tasks may have
    them. Raises InvalidInput."""
    names = []
    for pattern in filter(None, (stdout, stderr)):
        for symbol in _SYMBOL.findall(pattern):
            if symbol not in SYMBOLS and symbol not in ALIASES:
                known = ", ".join(f"%{each} ({what})" for each, what in SYMBOLS.items())
                raise InvalidInput(f"{pattern[:80]!r}: %{symbol} has no meaning; there are {known}")
        name = check_output_name(expand(pattern, values))
        if len(name) > MAX_NAME:
            raise InvalidInput(f"{pattern[:80]!r} makes a name of {len(name)} characters: at most {MAX_NAME}")
        names.append(name)
    if len(names) == 2 and names[0] == names[1]:
        raise InvalidInput(
            f"stdout and stderr both go to {names[0][:80]!r}; for both in one file, end the command with 2>&1"
        )


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """The name that a pattern makes with the ``values`` of the symbols. A value adds no folder to the path."""

    def value(match: re.Match[str]) -> str:
        symbol = ALIASES.get(match[1], match[1])
        text = "%" if symbol == "%" else values[symbol]
        text = re.sub(r"[/\0]", "_", text)
        return text if text.strip(".") else "_"

    return _SYMBOL.sub(value, pattern)
