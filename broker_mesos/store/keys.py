"""The names of all keys in Redis. No other code makes them.

One hash tag per cell, so that cells spread over a Redis Cluster while each script stays on one node; one
for what is global. ``<cluster>`` keeps clusters on one server apart.

=====================================  =======  ==========================================================
key                                    type     holds
=====================================  =======  ==========================================================
``bmesos:{<cluster>.<cell>}:lease``    hash     term, nonce, owner, commit, commit_id, renewed_at (ms), run_id
``bmesos:{<cluster>.<cell>}:agents``   hash     agent id → AgentRecord as JSON
``…:frameworks``, ``…:tasks``          hash     id → FrameworkRecord; TaskRecord, as two lines
``bmesos:{<cluster>.<cell>}:outbox``   hash     number → message that awaits the broker's confirm
``bmesos:{<cluster>.<cell>}:trying``   hash     message id → how often it was tried alone; expires
``bmesos:{<cluster>}:cells``           hash     ``count``: the number of cells, set once
``bmesos:{<cluster>}:masters``         hash     master id → ``<beat ms> <expiry ms> <json>``
``bmesos:{<cluster>}:usage``           hash     cell → what its roles use
``bmesos:{<cluster>}:cluster:config``  hash     ``division``: what operators have set (JSON); its ``version``
``bmesos:{<cluster>}:cluster:ledger…`` hash     of one role's limit: cell → the part that it holds in escrow
``bmesos:{<cluster>}:events``           stream   what has happened, for operators; about the latest 20,000
``bmesos:{<cluster>}:history:<step>``   stream   shares and sums, one entry for each step of 10s, 1m or 10m
``bmesos:{<cluster>}:<space>:<key>``   any      a built-in framework's own records (``batch:jobs`` …)
=====================================  =======  ==========================================================
"""

from __future__ import annotations

import re
from typing import NamedTuple

from broker_mesos.core.protocol.records import RecordKind
from broker_mesos.errors import InvalidInput

_CLUSTER = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SPACE = re.compile(r"[a-z][a-z0-9-]{0,39}")


class CellKeys(NamedTuple):
    """The keys of one cell, in the order in which the commit script takes them."""

    lease: str
    agents: str
    frameworks: str
    tasks: str
    outbox: str


RECORD_KINDS = (RecordKind.AGENTS, RecordKind.FRAMEWORKS, RecordKind.TASKS)
"""The kinds of records, in the order of their keys in CellKeys."""


def check_cluster(cluster: str) -> str:
    """Returns the name if it can be part of a key. Raises InvalidInput."""
    if not _CLUSTER.fullmatch(cluster):
        raise InvalidInput(f"cluster name {cluster[:80]!r}: use 1 to 40 letters, digits, '_' and '-'")
    return cluster


def cell(cluster: str, number: int) -> CellKeys:
    """The keys of a cell. Raises InvalidInput."""
    if number < 0:
        raise InvalidInput(f"cell {number}: cells are counted from 0")
    tag = f"bmesos:{{{check_cluster(cluster)}.{number}}}:"
    return CellKeys(*(tag + name for name in CellKeys._fields))


def trying(cluster: str, number: int) -> str:
    """The key with the number of tries of messages that came back to a cell. Raises InvalidInput."""
    return cell(cluster, number).lease.removesuffix("lease") + "trying"


def cells(cluster: str) -> str:
    """The key with the number of cells."""
    return f"bmesos:{{{check_cluster(cluster)}}}:cells"


def masters(cluster: str) -> str:
    """The key with the living masters."""
    return f"bmesos:{{{check_cluster(cluster)}}}:masters"


def usage(cluster: str) -> str:
    """The key with the usage of roles, by cell."""
    return f"bmesos:{{{check_cluster(cluster)}}}:usage"


def stream(cluster: str, name: str) -> str:
    """The key of a stream, such as ``events`` or ``history:10s``."""
    return f"bmesos:{{{check_cluster(cluster)}}}:{name}"


def records(cluster: str, space: str) -> str:
    """The prefix of a built-in framework's own keys. Raises InvalidInput."""
    if not _SPACE.fullmatch(space):
        raise InvalidInput(f"record space {space!r}: use 1 to 40 lower-case letters, digits and '-'")
    return f"bmesos:{{{check_cluster(cluster)}}}:{space}:"
