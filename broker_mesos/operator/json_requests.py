"""Requests that a built-in framework answers by itself: they are passed on as JSON, and nothing here loads models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from broker_mesos.bus.requests import Requester
from broker_mesos.core.protocol.addresses import operator_framework
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import BuiltInFramework
from broker_mesos.runtime.timeouts import within

if TYPE_CHECKING:
    from broker_mesos.core.model.part import JsonObject


def encoded(kind: str, fields: Mapping[str, Any]) -> bytes:
    """The body of a request of this type. Raises InvalidInput for a text that cannot be sent."""
    try:
        return json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeError:
        raise not_utf8(kind) from None


async def pass_on(
    requester: Requester, framework: BuiltInFramework, kind: str, body: bytes, limit: float
) -> JsonObject:
    """The data of the framework's answer, which checks the request. Raises the error that it answers with, TimedOut
    after ``limit`` seconds, or Unavailable when no process of the framework runs."""
    async with answered_within(limit, kind, requester):
        return await requester.exchange(operator_framework(framework.name), kind, body, limit)


@asynccontextmanager
async def answered_within(limit: float, kind: str, requester: Requester) -> AsyncIterator[None]:
    """Give up on the answer to a user's request of this type after ``limit`` seconds. Raises TimedOut, or Unavailable
    with the reason if the broker accepts no messages."""
    try:
        async with within(limit):
            yield
    except TimeoutError:
        raise requester.late(f"no answer to {kind} within {limit:.2g} s; try again, or see `bmesos doctor`") from None


def not_utf8(kind: str) -> InvalidInput:
    """The error for a request with a text that has no UTF-8 form."""
    return InvalidInput(
        f"{kind}: a text in it is not valid UTF-8, such as an argument or an environment value that was made of other "
        "bytes; only UTF-8 can be sent"
    )
