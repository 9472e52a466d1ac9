"""The command ``bmesos``. What is heavy is imported inside the commands: ``--help`` must not wait for it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

from broker_mesos.cli.early_signals import EarlySignals
from broker_mesos.runtime.streams import open_standard_streams

_COMPLETION = "_BMESOS_COMPLETE"
"""The variable by which a shell asks typer what could be typed next."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are one line on stderr, never a traceback. Without
    ``argv`` it is that of this process, whose signals are handled as well."""
    if argv is not None:
        return _run(list(argv), None)
    signals = EarlySignals(sys.argv[1:])
    try:
        return _run(sys.argv[1:], signals)
    finally:
        signals.end()


def _run(words: list[str], signals: EarlySignals | None) -> int:
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # What an encoding lacks is escaped, as names and output of others may have any character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for word in words:
        if "://" in word:  # errors repeat words of the command line, and they are logged where commands are automated
            from broker_mesos.runtime.secrets import remember

            remember(word)
    # What stands after the first "--" is somebody else's command line, down to its own "--".
    command = None
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    try:
        from broker_mesos.cli.argv_parser import read
        from broker_mesos.cli.options import Call

        call = Call(command, None if signals is None else signals.begin)
        completing = _COMPLETION in os.environ
        found = None if completing else read(words)
        if found is not None:
            call.common(found.above)
            code = call.run(found.command, found.function, found.values)
        else:
            from broker_mesos.cli.app import run

            code = run(words or ["--help"], call, completing=completing)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _abandon_stdout()
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) or error.filename is not None:
            return _report(error)
        _abandon_stdout()
        return complain(f"the output cannot be written: {error.strerror}")
    except Exception as error:
        return _report(error)


def _abandon_stdout() -> None:
    """Nothing more can be written there, not even what is left in the buffer when the process exits."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stream without a descriptor
        pass


def _report(error: Exception) -> int:
    from broker_mesos.errors import BrokerMesosError

    if os.environ.get("BMESOS_DEBUG", "") not in ("", "0"):
        import traceback

        from broker_mesos.runtime.secrets import masked

        print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if isinstance(error, BrokerMesosError):
        return complain(str(error), error.exit_code)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help of a group
        try:
            print(error, file=sys.stderr, flush=True)
        except OSError:
            pass
        return 2
    usage = getattr(error, "format_message", None)  # a finding of typer about the command line
    if callable(usage):
        from broker_mesos.cli.usage import usage_problem

        return complain(usage_problem(error, str(usage())), 2)
    if type(error).__name__ == "Abort":
        return 130
    return complain(f"unexpected {type(error).__name__}: {error} (BMESOS_DEBUG=1 shows where; please report it)", 1)


def complain(message: str, code: int = 1) -> int:
    """One line on stderr; returns the exit code."""
    from broker_mesos.cli.show import clean
    from broker_mesos.runtime.logs import error_line
    from broker_mesos.runtime.secrets import masked

    try:
        print(error_line(clean(" ".join(masked(message).split())), code), file=sys.stderr, flush=True)
    except OSError:
        pass
    return code
