"""Logging: where lines go, and loggers that cost nothing until something is said (importing structlog takes a
tenth of a second, which a short command should not have to wait for)."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any


class Log:
    """Stands in for ``structlog.get_logger(name)`` until it is first used."""

    __slots__ = ("_logger", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: Any = None

    def __getattr__(self, method: str) -> Any:
        if self._logger is None:
            import structlog

            self._logger = structlog.get_logger(self._name)
        return getattr(self._logger, method)


def get_logger(name: str) -> Any:
    """A structured logger for a module."""
    return Log(name)


def configure(log_level: str, log_format: str) -> None:
    """Log lines go to stderr, as text or JSON, from a level such as ``info`` on."""
    structlog = _structlog()
    level = logging.getLevelNamesMapping()[log_level.upper()]
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
    # pika reports every broken connection at length; the bus says the same in one line.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    last: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    if log_format == "json":
        last = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _structlog() -> Any:
    """structlog without rich, which it would import to draw tracebacks (ours are plain): a tenth of the
    CPU that a daemon takes to start."""
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog
