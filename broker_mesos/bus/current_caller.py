"""The principal whose request is being answered; requests that are sent meanwhile are sent for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command sends requests without any models
    from broker_mesos.core.api.access import Caller

PRINCIPAL_HEADER = "bmesos-principal"

_caller: ContextVar[Caller | None] = ContextVar("bmesos caller", default=None)


def current() -> Caller | None:
    """The principal whose request is being answered; None if rights are not checked."""
    return _caller.get()


@contextmanager
def answering(caller: Caller | None) -> Iterator[None]:
    """Answer a request of this principal: requests that are sent meanwhile are sent for it."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)
