"""A daemon's table of the functions that answer operator requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.errors import InvalidMessage

R = TypeVar("R", bound=Request)
Handler = Callable[[Any], Awaitable[Part]]


class Handlers:
    """Answers each request with the function that was added for its class or for the nearest base class.
    ``daemon`` is the name of the daemon in errors."""

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon
        self._handlers: dict[type[Request], Handler] = {}

    def add(self, kind: type[R], handler: Callable[[R], Awaitable[Part]]) -> None:
        """Answer requests of this class, and of classes derived from it, with ``handler``."""
        self._handlers[kind] = handler

    def find(self, kind: type[Request]) -> Handler | None:
        """The function that answers requests of this class; None if there is none."""
        return next((self._handlers[each] for each in kind.__mro__ if each in self._handlers), None)

    async def answer(self, request: Request) -> Part:
        """The answer to a request. Raises InvalidMessage for one that this daemon does not answer."""
        handler = self.find(type(request))
        if handler is None:
            raise InvalidMessage(f"{request.TYPE} is not for {self._daemon}: it is for {request.ROUTE}")
        return await handler(request)
