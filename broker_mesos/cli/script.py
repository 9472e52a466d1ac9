"""A job's command from a script on standard input: ``bmesos submit - < script.sh``."""

from __future__ import annotations

import sys

from broker_mesos.cli import show
from broker_mesos.errors import InvalidInput

SCRIPT_MAX_BYTES = 100_000
"""The system takes at most 128 KiB as one argument of a process."""

_RUN = 'file=$BMESOS_SANDBOX/.script; printf %s "$1" > "$file" && chmod 700 "$file" && exec "$file"'
"""Runs a script by the interpreter that its first line names."""


def read_script() -> str | list[str]:
    """The command that runs the script on standard input. Raises InvalidInput.

    Without a first line that names another interpreter it is text for ``/bin/sh -c``.
    """
    if sys.stdin.isatty():
        show.note("bmesos: reading a script from the terminal; end it with Ctrl-D")
    raw = sys.stdin.buffer.read(SCRIPT_MAX_BYTES + 1)
    if len(raw) > SCRIPT_MAX_BYTES:
        raise InvalidInput(
            f"the script on stdin has more than {SCRIPT_MAX_BYTES} bytes; give the name of a file instead"
        )
    if b"\0" in raw:
        raise InvalidInput("stdin has a zero byte: it is not a script")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput("the script on stdin is not UTF-8 text") from None
    if not text.strip():
        raise InvalidInput("the script on stdin is empty")
    first = text.partition("\n")[0].strip()
    if not first.startswith("#!") or first.removeprefix("#!").strip() == "/bin/sh":
        return text
    return ["/bin/sh", "-c", _RUN, "script", text]
