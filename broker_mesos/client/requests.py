"""Builds requests of the operator API from a caller's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from broker_mesos.client.names import not_an_id
from broker_mesos.core.api.catalog import REQUESTS
from broker_mesos.core.api.request import Request
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.errors import InvalidInput, InvalidMessage

R = TypeVar("R", bound=Request)


def made(kind: type[R], **fields: object) -> R:
    """A request of this kind. Raises InvalidInput in one line if its fields cannot be right."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        if name in ("job_id", "task_id", "id"):
            raise InvalidInput(not_an_id(str(fields.get(name)))) from None
        raise InvalidInput(first_problem(error)) from None


def validated(kind: str, fields: Mapping[str, Any]) -> Request:
    """The request of this type. Raises InvalidMessage in one line, after the type, if it cannot be right."""
    try:
        return REQUESTS[kind].model_validate(fields)
    except ValidationError as error:
        raise InvalidMessage(f"{kind}: {first_problem(error)}") from None
