"""The paths of the HTTP server that a dashboard reads: each is a request of the operator API as a GET."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import ValidationError

from broker_mesos.core.api.agent_table import AgentColumns, GetAgents
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.errors import InvalidInput
from broker_mesos.operator.gateway import OperatorApi


def made(kind: type[Request], **fields: Any) -> Request:
    """A request with the parameters of a URL that were given. Raises InvalidInput in one line."""
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None


def add_views(app: FastAPI, gateway: OperatorApi) -> None:
    """Add the paths to an application."""

    @app.get("/api/v1/agents/columns", response_model=AgentColumns, summary="All agents, or what changed, as columns")
    async def agent_columns(
        filter: Annotated[str | None, Query()] = None,
        sort: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        follow: bool | None = None,
        changed_since: str | None = None,
    ) -> Part:
        follow = bool(changed_since) if follow is None else follow
        fields = {"filter": filter, "sort": sort, "limit": limit, "after": after, "changed_since": changed_since}
        return await gateway.handle(made(GetAgents, follow=follow, **fields))
