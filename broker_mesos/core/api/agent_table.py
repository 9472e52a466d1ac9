"""Operator requests for all agents as a table of columns, whole or only what has changed since an earlier answer.

A table of 10,000 agents is a tenth as long as their views. Texts that many agents share are in it once: a column has
indices into ``kinds`` or ``attribute_sets``. Every column has one entry for each agent, in the order of ``ids``.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.paging import MAX_CURSOR
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register

Number = int | float

STATE_NAMES = ("ready", "draining", "drained", "deactivated", "unreachable", "gone")
"""The states of agents in a table; the column ``states`` has indices into it."""

SORTS = ("host", "cpus", "mem", "gpus", "disk", "tasks", "state", "heartbeat")
"""The columns by which a table can be sorted. Resources are sorted by the part that is used or offered."""

MAX_FILTER = 500
"""The longest filter, in characters."""
MAX_TOKEN = 16_384
"""The longest token, in characters: with some 20 characters for each of several hundred cells."""


class AgentTable(Part):
    """Agents as columns."""

    ids: list[str] = Field(default_factory=list)
    hosts: list[str] = Field(default_factory=list)
    """Host names; empty where it is the id."""
    states: list[int] = Field(default_factory=list)
    """Indices into ``STATE_NAMES``."""
    shares: list[int] = Field(default_factory=list)
    """The largest part of a resource of the agent that is used or offered, from 0 to 255."""
    tasks: list[int] = Field(default_factory=list)
    kinds: list[dict[str, Number]] = Field(default_factory=list)
    kind: list[int] = Field(default_factory=list)
    """The resources of each agent, as an index into ``kinds``. Ranges and sets are counted."""
    attribute_sets: list[dict[str, str]] = Field(default_factory=list)
    attributes: list[int] = Field(default_factory=list)
    """The attributes of each agent, as an index into ``attribute_sets``."""
    used: dict[str, list[Number]] = Field(default_factory=dict)
    """Used amounts by resource; a resource that no agent of the table has in use is left out."""
    offered: dict[str, list[Number]] = Field(default_factory=dict)
    """Offered amounts by resource, likewise."""
    heartbeat_ages: list[float | None] = Field(default_factory=list)
    """Time since the last message of the agent at the time of the answer, in seconds; None if its owner has received
    none. A message alone is no change."""


class CellAgents(AgentTable):
    """The agents of one cell. ``number`` counts changes under one term, so that a reader of another term has to begin
    anew."""

    cell: int
    term: int
    number: int = 0
    """The change up to which the answer goes, if it follows changes."""
    reset: bool = False
    """Whether the reader must forget all agents of this cell that it knows, before it applies the answer."""
    removed: list[str] = Field(default_factory=list)
    """Ids of agents that the cell does not have any more."""
    more: bool = False
    """Whether there are more changes, or more entries behind the last one."""
    total: int = 0
    match: int = 0
    """Number of agents that the filter selects; -1 if the answer follows changes."""


class AgentColumns(AgentTable):
    """The agents of all cells that have answered."""

    cells: list[int] = Field(default_factory=list)
    state_names: tuple[str, ...] = STATE_NAMES
    removed: list[str] = Field(default_factory=list)
    """Ids of agents that are not there any more, if the answer follows changes."""
    reset: list[int] = Field(default_factory=list)
    """Cells of which the reader must forget all agents before it applies the answer. If the answer follows changes."""
    token: str = ""
    """The ``changed_since`` of the next request, if the answer follows changes."""
    more: bool = False
    """Whether there are more changes already, so that the next request need not wait."""
    after: str = ""
    """The ``after`` of the next page, if the answer is a page."""
    truncated: bool = False
    """Whether there are agents behind this page."""
    total: int = 0
    """Number of agents of the cells that have answered."""
    match: int = -1
    """Number of agents that the filter selects; -1 if the answer follows changes."""
    missing: tuple[MissingCell, ...] = ()


class TableRequest(Request):
    """The base class of requests for agents as columns. With ``follow`` the answer has the changes since an earlier
    one, at first everything, in the order in which they happened; else it is a page of a sorted list."""

    filter: str = Field(default="", max_length=MAX_FILTER)
    """Words separated by blanks, all of which must hold: ``rack:r07`` is an attribute, ``state=ready``,
    ``state!=ready`` and ``cell=2`` are conditions, and any other word is a part of the id or the host name."""
    sort: str = Field(default="host", max_length=20)
    """A column of ``SORTS``, with a minus sign before it for the reverse order."""
    limit: int = Field(default=5_000, ge=1, le=10_000)
    after: str = Field(default="", max_length=MAX_CURSOR)
    follow: bool = False


@register
class GetCellAgents(TableRequest):
    """Get agents of a cell as columns: a page of them, or what has changed after ``number`` of ``term``."""

    TYPE = "GET_CELL_AGENTS"
    RIGHT = Right.VIEW
    ANSWER = CellAgents
    ROUTE = Route.CELLS
    since: dict[int, tuple[int, int]] = Field(default_factory=dict)
    """The term and the change number that the reader knows, by cell."""


@register
class GetAgents(TableRequest):
    """Get agents as columns: a page of them in the order of ``sort``, or with ``follow`` what has changed since the
    answer with this token. A reader that follows repeats the request at once while the answer has ``more``."""

    TYPE = "GET_AGENTS"
    RIGHT = Right.VIEW
    ANSWER = AgentColumns
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    changed_since: str = Field(default="", max_length=MAX_TOKEN)
    """The ``token`` of the previous answer; empty at first."""
