"""Loggers that cost nothing until something is said: importing structlog takes a tenth of a second, which a
short command should not have to wait for."""

from __future__ import annotations

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
