"""Reads when and where the tasks of a job ran."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from broker_mesos.core.api.timeline import Timeline
from broker_mesos.frameworks.batch.storage.reader import JobReader
from broker_mesos.frameworks.batch.storage.records import CLAIMS, ClaimRecord, JobRecord, ResultRecord, results_key

SLICE = 250
"""Number of tasks that are read and decoded at a time; offers and statuses are handled in between."""
COLUMNS = ("index", "attempt", "state", "agent", "claimed", "started", "ended")
MAX_AGENT_CHARS = 300_000
"""The largest size of the ids of all agents, in characters; tasks of further ones are left out."""


async def timeline(reader: JobReader, job_id: str, limit: int) -> Timeline:
    """The latest attempts at up to ``limit`` indices of a job, spread evenly over its array. Raises NotFound,
    StoreUnavailable."""
    _, record = await reader.record(job_id)
    columns = _Columns(record)
    indices = list(_spread(record, limit))
    truncated = len(indices) < record.total
    for at in range(0, len(indices), SLICE):
        some = indices[at : at + SLICE]
        # Results are read last: an index that ends in between has a claim and a result rather than neither.
        claims = await reader.fields(CLAIMS, [f"{job_id}.{index}" for index in some])
        results = await reader.fields(results_key(job_id), [str(index) for index in some])
        for index in some:
            truncated |= not columns.add(index, claims[f"{job_id}.{index}"], results[str(index)])
        await asyncio.sleep(0)
    return Timeline(
        job_id=job_id,
        total=record.total,
        truncated=truncated,
        since=record.submitted_at,
        states=tuple(columns.states),
        agents=tuple(columns.agents),
        **columns.rows(),
    )


def _spread(record: JobRecord, limit: int) -> Iterator[int]:
    shown = min(record.total, limit)
    return (record.index_at(at * record.total // shown) for at in range(shown))


class _Columns:
    """The columns of a timeline."""

    def __init__(self, record: JobRecord) -> None:
        self._record = record
        self.states: dict[str, int] = {}
        self.agents: dict[str, int] = {}
        self._agent_chars = 0
        self._rows: list[tuple[int, int, int, int, float | None, float | None, float | None]] = []

    def add(self, index: int, claim_text: str | None, result_text: str | None) -> bool:
        """Add a task, from its claim or result. Returns whether there is room for it."""
        if result_text is not None:
            result = ResultRecord.model_validate_json(result_text)
            attempt, state, agent_id = result.attempt, result.state, result.agent_id
            times = result.claimed_at, result.started_at, result.ended_at
        elif claim_text is not None:
            claim = ClaimRecord.model_validate_json(claim_text)
            short = "staging" if claim.state is None else claim.state.short
            state = {"starting": "staging", "killing": "running"}.get(short, short)
            attempt, agent_id, times = claim.attempt, claim.agent_id, (claim.claimed_at, claim.started_at, None)
        else:
            record = self._record
            state = "killed" if record.killed else "pending"
            attempt, agent_id, times = 1, "", (None, None, record.ended_at)
        if agent_id and agent_id not in self.agents:
            if self._agent_chars + len(agent_id) > MAX_AGENT_CHARS:
                return False
            self._agent_chars += len(agent_id)
        where = self.agents.setdefault(agent_id, len(self.agents)) if agent_id else -1
        claimed, started, ended = map(self._after, times)
        number = self.states.setdefault(state, len(self.states))
        self._rows.append((index, attempt, number, where, claimed, started, ended))
        return True

    def _after(self, at: float | None) -> float | None:
        """A time as seconds after the submission of the job, which are short."""
        return None if at is None else round(at - self._record.submitted_at, 3)

    def rows(self) -> dict[str, Any]:
        """The columns by name."""
        columns: Any = zip(*self._rows, strict=True) if self._rows else ((),) * len(COLUMNS)
        return dict(zip(COLUMNS, columns, strict=True))
