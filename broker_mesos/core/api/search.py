"""Operator requests for ids that begin with a text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class Match(Part):
    """Something whose id begins with the text."""

    kind: Literal["agent", "framework", "role", "job", "task"]
    id: str
    text: str = ""
    """What it is, in some words."""


class Matches(Part):
    """The answer to a search: agents first, then frameworks, roles, jobs and tasks."""

    found: tuple[Match, ...] = ()
    truncated: bool = False
    """Whether there may be more."""
    missing: tuple[MissingCell, ...] = ()


class SearchRequest(Request):
    """The base class of searches."""

    RIGHT = Right.VIEW
    ANSWER = Matches
    prefix: str = Field(min_length=1, max_length=255)
    limit: int = Field(default=20, ge=1, le=100)


@register
class SearchCell(SearchRequest):
    """Find agents, frameworks, roles and tasks of a cell whose id begins with a text; agents by their host, too."""

    TYPE = "SEARCH_CELL"
    ROUTE = Route.CELLS


@register
class Search(SearchRequest):
    """Find agents, frameworks, roles, jobs and tasks whose id, host or name begins with a text."""

    TYPE = "SEARCH"
    ROUTE = Route.GATEWAY
    FOR_USERS = True
