"""Logging: the destination of log lines, and loggers that cost nothing until their first line.

The import of structlog takes a tenth of a second, for which a short command should not have to wait. A line that
cannot be written ends no process: see ``LogStream``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from broker_mesos.runtime.log_stream import LogStream
from broker_mesos.runtime.streams import open_standard_streams

_errors_in_json = False


class Log:
    """A proxy of ``structlog.get_logger(name)``, which is created at the first use."""

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


def configure(log_level: str, log_format: str, *, daemon: bool = False) -> None:
    """Send log lines to stderr, as text or JSON, from a level such as ``info`` on. None of the calls of a logger
    raises, and in a ``daemon`` no write to ``sys.stderr`` does."""
    structlog = _structlog()
    open_standard_streams()
    stream: Any = sys.stderr
    if not isinstance(stream, LogStream) and _descriptor(stream) == 2:
        stream = LogStream(2, lambda count: _dropped(count, log_format))
        if daemon:
            sys.stderr = stream
    level = logging.getLevelNamesMapping()[log_level.upper()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])
    # pika logs every broken connection at length; the bus logs the same in one line.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    last: Any = structlog.dev.ConsoleRenderer(colors=stream.isatty() and not os.environ.get("NO_COLOR"))
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
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def notice(text: str) -> None:
    """Write a line for people to stderr, whatever the level and format of the log."""
    print(text, file=sys.stderr, flush=True)


def choose_error_format(log_format: str | None) -> None:
    """Set the format that ``error_line`` uses from now on."""
    global _errors_in_json
    _errors_in_json = log_format == "json"


def error_line(message: str, code: int) -> str:
    """The line about the error by which a command ends, in the format of its log."""
    return json_line("error", message, exit_code=code) if _errors_in_json else f"bmesos: {message}"


def json_line(level: str, event: str, **fields: object) -> str:
    """A log line in the format log_format=json, for code that writes it without a logger."""
    line = {**fields, "event": event, "level": level, "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    return json.dumps(line)


class _JsonFormatter(logging.Formatter):
    """Formats lines of libraries that use the standard logging module like those of this package."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        return json_line(record.levelname.lower(), record.getMessage(), logger=record.name, **fields)


class _TextFormatter(logging.Formatter):
    """The same for log_format=text."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        return f"{at:%Y-%m-%dT%H:%M:%S.%fZ} [{record.levelname.lower():<9}] {super().format(record)}"


def _dropped(count: int, log_format: str) -> str:
    text = "log lines could not be written"
    if log_format == "json":
        return json_line("warning", text, lines=count)
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} [warning  ] {text} lines={count}"


def _descriptor(stream: Any) -> int:
    """The stream's file descriptor; -1 if it has none, for instance when a test captures it."""
    try:
        return int(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return -1


def _structlog() -> Any:
    """structlog without rich, which it would import to format tracebacks (ours are plain): a tenth of the CPU time
    that a daemon needs to start."""
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog
