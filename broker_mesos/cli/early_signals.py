"""Signals that arrive while the command ``bmesos`` is still loading, or when it has ended.

Loading takes some tenths of a second. Python's own handler of Ctrl-C would print a traceback of the module that is
just being loaded, and SIGHUP, by which daemons read files again, would end a daemon.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

RELOADING = frozenset({"master", "agent", "framework", "web"})
"""The commands of daemons that SIGHUP does not end. They read their files after this, so that it need not be kept."""


class EarlySignals:
    """Sets the handlers of this process until the command that it is to run is known."""

    def __init__(self, words: Sequence[str]) -> None:
        """``words`` are those of the command line; one of them may be the name of a daemon."""
        self._interrupt = signal.getsignal(signal.SIGINT)
        self._hangup = signal.getsignal(signal.SIGHUP)
        # A handler of Python's, and not SIG_IGN: that would be inherited by the programs that an agent starts.
        if self._hangup == signal.SIG_DFL and not RELOADING.isdisjoint(words):
            signal.signal(signal.SIGHUP, lambda *_: None)
        self.end()

    def begin(self, name: str) -> None:
        """Set the handlers that the command of this name expects."""
        if self._interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if name not in RELOADING and self._hangup == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def end(self) -> None:
        """Let Ctrl-C end this process without a word. Where it is ignored, it stays so."""
        if self._interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
