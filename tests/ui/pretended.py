"""A cluster of any size that exists only as far as the operator API shows it: for pictures of the dashboard, and for
tests of what a page does with 10,000 agents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from broker_mesos.core.api.agent_rows import Row, columns
from broker_mesos.core.api.agent_table import STATE_NAMES, AgentColumns, GetAgents
from broker_mesos.core.api.cells import CellLoad
from broker_mesos.core.api.cluster import CellOwnership, ClusterView, GetCluster, MasterView
from broker_mesos.core.api.dead_letters import DeadLetterList, ListDeadLetters
from broker_mesos.core.api.doctor import DoctorReport, GetDoctor
from broker_mesos.core.api.events import EventList, GetEvents
from broker_mesos.core.api.findings import Finding
from broker_mesos.core.api.health import GetHealth, HealthView
from broker_mesos.core.api.history import GetHistory, HistoryPoint, HistoryView
from broker_mesos.core.api.jobs import GetJobs, JobList, JobSummary
from broker_mesos.core.api.overview import GetOverview, Overview, WaitingTasks
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import ConfigView, GetConfig
from broker_mesos.core.api.state import GetState, MissingCell, StateView
from broker_mesos.core.api.whoami import Identity, WhoAmI
from broker_mesos.core.model.event import Event
from broker_mesos.core.model.part import Part
from broker_mesos.errors import NotFound

CELLS = 4
PAGE = 4_000
"""Number of agents in one answer, as of four cells with 1,000 each."""
ROLES = ("eng", "eng/db", "ops", "research", "web", "data")


class PretendedCluster:
    """A cluster of ``agents``. ``error`` is raised instead of every answer about the cluster; ``silent``: no answer
    ever comes."""

    def __init__(self, agents: int, *, error: Exception | None = None, silent: bool = False) -> None:
        self.rows = [_row(number) for number in range(agents)]
        self.error = error
        self.silent = silent
        self.missing: tuple[MissingCell, ...] = ()
        self.asked: list[str] = []
        self._changed: dict[str, int] = {}
        self._number = 1

    def change(self, count: int) -> None:
        """Change some agents."""
        self._number += 1
        for at in range(count):
            number = (self._number * 7_919 + at) % len(self.rows)
            row = self.rows[number]
            used = {name: (amount * ((self._number + at) % 9)) // 8 for name, amount in row.total.items()}
            self.rows[number] = row._replace(used=used, tasks=(row.tasks + 1) % 20)
            self._changed[row.agent_id] = self._number

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        self.asked.append(request.TYPE)
        if isinstance(request, WhoAmI):
            return Identity(name="")
        if self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        match request:
            case GetAgents(changed_since=since):
                return self._agents(since)
            case GetOverview():
                return self._overview()
            case GetCluster():
                masters = tuple(
                    MasterView(master_id=f"m{n}", hostname=f"host-{n}", pid=100 + n, version="0.1.0", age=0.4)
                    for n in (1, 2)
                )
                owners = tuple(
                    CellOwnership(cell=n, owner=f"m{1 + n % 2}", pid=101 + n % 2, term=1_000 + n, age=0.3)
                    for n in range(CELLS)
                )
                return ClusterView(cluster="lab", version="0.1.0", masters=masters, cells=owners)
            case GetEvents(kinds=kinds, limit=limit):
                found = [each for each in _events(len(self.rows)) if not kinds or each.kind.split(".")[0] in kinds]
                return EventList(events=tuple(found[-limit:]), last="1-9")
            case GetHistory(series=series):
                return HistoryView(series=series, step=10.0, points=tuple(_points(len(self.rows))))
            case GetState(agent_id="", framework_id="", task_id=""):
                loads = tuple(
                    CellLoad(cell=n, behind=0.0, decisions=9, rounds=4, round_p50=0.0011, round_p99=0.0042)
                    for n in range(CELLS)
                )
                return StateView(loads=loads, missing=self.missing)
            case GetState():
                return StateView(missing=self.missing)
            case GetJobs(limit=limit):
                jobs = tuple(_jobs(len(self.rows)))
                return JobList(jobs=jobs[:limit], total=len(jobs), truncated=len(jobs) > limit)
            case GetConfig():
                return ConfigView(version=1, policy="drf", policies=("drf", "priority", "random"))
            case GetDoctor():
                fine = Finding(level="ok", subject="masters", found="2 masters answer", advice="")
                return DoctorReport(worst="ok", findings=(fine,))
            case GetHealth():
                return HealthView(masters=(), expected=2)
            case ListDeadLetters():
                return DeadLetterList()
        raise NotFound(f"there is no {request.TYPE} in this cluster")

    def _agents(self, since: str) -> AgentColumns:
        if since.startswith("at"):
            number = int(since[2:])
            rows = [row for row in self.rows if self._changed.get(row.agent_id, 0) > number]
            return self._table(rows, f"at{self._number}")
        first = int(since or 0)
        last = first + PAGE
        more = last < len(self.rows)
        return self._table(self.rows[first:last], str(last) if more else f"at{self._number}", more=more)

    def _table(self, rows: list[Row], token: str, *, more: bool = False) -> AgentColumns:
        return AgentColumns(
            **columns(rows),
            cells=[row.cell for row in rows],
            token=token,
            more=more,
            total=len(self.rows),
            missing=self.missing,
        )

    def _overview(self) -> Overview:
        agents: dict[str, int] = {}
        total: dict[str, float] = {}
        used: dict[str, float] = {}
        for row in self.rows:
            name = STATE_NAMES[row.state]
            agents[name] = agents.get(name, 0) + 1
            for each, amount in row.total.items():
                total[each] = total.get(each, 0) + amount / 1_000
                used[each] = used.get(each, 0) + row.used.get(each, 0) / 1_000
        groups = (("no gpus", 19), ("quota eng", 8), ("too large", 4)) if self.rows else ()
        waiting = tuple(
            WaitingTasks(group=name, tasks=part * len(self.rows) // 100 + 1, frameworks=("batch",))
            for name, part in groups
        )
        return Overview(
            agents=agents,
            tasks={"running": sum(row.tasks for row in self.rows), "staging": len(self.rows) // 800},
            frameworks={"subscribed": 3},
            total=total,
            used=used,
            waiting=waiting,
            waiting_tasks=sum(each.tasks for each in waiting),
            missing=self.missing,
        )


def _row(number: int) -> Row:
    large = number % 3 == 0
    total = {"cpus": 64_000 if large else 32_000, "mem": 262_144_000 if large else 65_536_000}
    if number % 5 == 0:
        total["gpus"] = 4_000
    part = ((number * 2_654_435_761) >> 7) % 9
    state = (1, 2, 3, 4)[number // 97 % 4] if number % 97 == 60 else 0
    used = {name: amount * part // 8 for name, amount in total.items()}
    return Row(
        agent_id=f"node-{number:04}",
        host=f"node-{number:04}",
        cell=number % CELLS,
        state=state,
        tasks=0 if state in (2, 4) else part * 4,
        total=total,
        used={} if state in (2, 4) else used,
        offered={},
        attributes={"rack": f"r{1 + number // 250:02}"},
        heartbeat_age=340.0 if state == 4 else 1.2,
    )


def _events(agents: int) -> Iterator[Event]:
    if not agents:
        return
    now = time.time()
    for at, (kind, ids, text, data) in enumerate(
        (
            ("cell.owned", (), "cell 2 has a new owner: m2", {"owner": "m2", "before": "m1", "silence": 1.312}),
            ("agent.unreachable", ("node-0060",), "no message for 75 s", {}),
            ("task.failed", ("train-7.13.1",), "3 tasks: exit code 137, memory limit", {}),
            ("framework.subscribed", ("batch",), "", {}),
            ("agent.draining", ("node-0157",), "drained by ann", {}),
        )
    ):
        yield Event(id=f"1-{at}", at=now - 400 + 70 * at, kind=kind, ids=ids, text=text, cell=2, data=data)


def _points(agents: int) -> Iterator[HistoryPoint]:
    now = time.time()
    for at in range(180 if agents else 0):
        shares = {name: 0.04 + 0.05 * each + 0.004 * ((at // 9 + each) % 5) for each, name in enumerate(ROLES)}
        yield HistoryPoint(at=now - 1_800 + 10 * at, agents=agents, roles=shares)


def _jobs(agents: int) -> Iterator[JobSummary]:
    now = time.time()
    for number in range(min(400, agents)):
        state = ("running", "pending", "finished", "failed")[number % 4]
        total = 1_000 if number % 2 == 0 else 40
        counts = {
            "running": {"running": total // 2, "finished": total // 4, "pending": total - total // 2 - total // 4},
            "pending": {"pending": total},
            "finished": {"finished": total},
            "failed": {"finished": total - 2, "failed": 2},
        }[state]
        yield JobSummary(
            job_id=f"job-{number:04}",
            name=("train", "render", "align", "report")[number % 4] + f"-{number}",
            user=("ann", "bob", "eve")[number % 3],
            role=ROLES[number % len(ROLES)],
            state=state,  # type: ignore[arg-type]
            total=total,
            counts=counts,
            exit_code=137 if state == "failed" else None,
            submitted_at=now - 60 * number - 30,
            ended_at=now if state in ("finished", "failed") else None,
            waiting="no agent has any gpus" if state == "pending" else "",
            reason="2 tasks failed: exit code 137" if state == "failed" else "",
        )
