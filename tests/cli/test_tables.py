"""Tables on a terminal of 80 columns, with values as long as they are in a real cluster."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from broker_mesos.cli import main
from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellLoad, OfferView, TaskView
from broker_mesos.core.api.cluster import CellOwnership, ClusterView, GetCluster, MasterView
from broker_mesos.core.api.dead_letters import DeadLetterList, DeadLetterView, ListDeadLetters
from broker_mesos.core.api.jobs import GetJob, GetJobs, JobList, JobSummary, JobTask, JobView
from broker_mesos.core.api.maintenance import AgentMaintenance, GetMaintenance, MaintenanceView
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.reservations import ReservationView, VolumeView
from broker_mesos.core.api.state import FrameworkTotal, GetState, RoleTotal, StateView
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.reservation import Reservation, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus
from tests.operator.fakes import serving

WIDTH = 80
AGENT = "ip-10-20-30-40.eu-central-1.compute.internal"
HOST = "ip-10-20-30-40.eu-central-1.compute.internal"
MASTER = "ip-10-20-30-41.eu-central-1.compute.internal-48211"
FRAMEWORK = "spark-2031-05-04-nightly-aggregation"
JOB = "7k2m9xq4tz"
TASK = f"{JOB}.10000.3"
OFFER = "4-1763922900123-88213"
LETTER = "9f1c1be3-40d5-4ac0-b77e-2bd0c5f3a111"
VOLUME = "customer-database-primary-volume-01"
NAME = "train-resnet-152-with-a-rather-long-name\n\x1b[31mred"
MORE = Resources.parse("cpus:64;mem:262144;disk:1048576;gpus:8;ports:[31000-31999]")
MESSAGE = "container exceeded its memory limit of 4096 MB\x1b]0;title\x07 and was killed by the kernel"


class LongCluster:
    """Answers with long values only."""

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        match request:
            case GetState():
                return self.state()
            case GetCluster():
                master = MasterView(master_id=MASTER, hostname=HOST, pid=4194303, version="0.31.0.dev12", age=1234)
                cell = CellOwnership(cell=15, owner=MASTER, pid=4194303, hostname=HOST, term=1763922900123, age=0.1)
                return ClusterView(cluster="production", version="0.31.0", masters=(master,), cells=(cell,))
            case GetJobs():
                return JobList(jobs=(self.summary(),), total=4123)
            case GetJob():
                command = CommandInfo(arguments=("python", "train.py", "--name", "x" * 300))
                spec = JobSpec(name="x", command=command, resources=MORE)
                return JobView(summary=self.summary(), spec=spec, tasks=(self.task(),))
            case ListDeadLetters():
                letter = DeadLetterView(
                    letter_id=LETTER,
                    type="UPDATE_STATUSES",
                    source=f"agent-commands.{AGENT}",
                    tries=3,
                    size=123456,
                    at=1.0,
                    reason="tried three times: " + MESSAGE,
                )
                return DeadLetterList(letters=(letter,), total=1)
            case GetMaintenance():
                agent = AgentMaintenance(
                    agent_id=AGENT,
                    cell=3,
                    hostname=HOST,
                    state=AgentStatus.REGISTERED,
                    maintenance="draining",
                    tasks=123,
                    accepted=(FRAMEWORK, "other"),
                    unanswered=(FRAMEWORK,),
                )
                return MaintenanceView(agents=(agent,))
        raise AssertionError(request)

    def state(self) -> StateView:
        reservation = Reservation(
            role="engineering/research", resources=MORE, labels={"team": "vision", "for": "x" * 40}
        )
        volume = Volume(volume_id=VOLUME, role="engineering/research", size=Resources.parse("disk:1048576"))
        agent = AgentView(
            agent_id=AGENT,
            cell=15,
            hostname=HOST,
            state=AgentStatus.UNREACHABLE,
            maintenance="draining",
            total=MORE,
            offered=Resources.EMPTY,
            used=MORE,
            attributes={"rack": "r1", "zone": "eu-central-1a", "machine": "m5d.24xlarge"},
            tasks=1234,
            heartbeat_age=12345,
            reservations=(ReservationView(reservation=reservation, unused=MORE),),
            volumes=(VolumeView(volume=volume, tasks=(TASK, TASK)),),
        )
        framework = FrameworkTotal(
            framework_id=FRAMEWORK,
            name=NAME,
            roles=("engineering/research", "engineering/batch"),
            state=FrameworkStatus.DISCONNECTED,
            wanted=True,
            allocated=MORE,
            offered=MORE,
            tasks=123456,
            offers=1234,
            dominant_share=0.123,
        )
        task = TaskView(
            task_id=TASK,
            cell=15,
            framework_id=FRAMEWORK,
            agent_id=AGENT,
            role="engineering/research",
            name=NAME,
            resources=MORE,
            state=TaskState.UNREACHABLE,
            created_at=1.0,
        )
        offer = OfferView(offer_id=OFFER, cell=15, framework_id=FRAMEWORK, agent_id=AGENT, resources=MORE, age=12.3)
        role = RoleTotal(
            role="engineering/research",
            weight=1.5,
            frameworks=12,
            allocated=MORE,
            offered=MORE,
            held=MORE,
            dominant_share=0.5,
            guarantee=MORE,
            limit="cpus:640;gpus:80;mem:2621440",
            preempts=True,
        )
        load = CellLoad(cell=15, behind=12.0, decisions=9, rounds=4, round_p50=0.0011, round_p99=0.1042)
        return StateView(
            agents=(agent,),
            frameworks=(framework,),
            tasks=(task,),
            offers=(offer,),
            roles=(role,),
            counts={"agents": 1},
            loads=(load,),
        )

    def summary(self) -> JobSummary:
        return JobSummary(
            job_id=JOB,
            name=NAME,
            state="running",
            total=10000,
            counts={"pending": 5000, "running": 4000, "finished": 900, "failed": 100},
            submitted_at=1.0,
            waiting="no agent has 64 cpus free: the nearest one lacks 12 cpus, and 3 agents are draining\x1b[2J",
        )

    def task(self) -> JobTask:
        return JobTask(
            task_id=TASK,
            index=10000,
            attempt=3,
            state="failed",
            signal=9,
            agent_id=AGENT,
            hostname=HOST,
            started_at=1.0,
            ended_at=20_000.0,
            message=MESSAGE,
        )


LISTS = [
    (["agents"], [AGENT]),
    (["frameworks"], [FRAMEWORK]),
    (["tasks"], [TASK, "unreachable"]),
    (["offers"], [OFFER]),
    (["roles"], ["engineering/research"]),
    (["reservations"], [AGENT]),
    (["volumes"], []),
    (["dead-letters", "list"], [LETTER]),
    (["maintenance", "show"], [AGENT]),
    (["status"], [JOB, MASTER, "running"]),
    (["status", JOB], [TASK, "SIGKILL"]),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(LongCluster()) as url:
        yield url


@pytest.fixture
def shown(server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints on a terminal."""

    def show(*words: str) -> str:
        import sys

        for name in list(os.environ):
            if name.upper().startswith("BMESOS_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("BMESOS_URL", server)
        monkeypatch.setenv("COLUMNS", str(WIDTH))
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(list(words)) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize(
    ("words", "whole"), LISTS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_list_fits_80_columns_and_keeps_its_ids(
    words: list[str], whole: list[str], shown: Callable[..., str]
) -> None:
    out = shown(*words)
    # Of one job, lines of text stand above the table.
    tables = [line for line in out.splitlines() if not re.match("[A-Z][a-z ]+: ", line)]
    assert [line for line in tables if len(line) > WIDTH] == []
    for ident in whole:
        assert ident in out, out


@pytest.mark.parametrize(
    ("words", "whole"), LISTS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_heading_stands_in_one_line(words: list[str], whole: list[str], shown: Callable[..., str]) -> None:
    lines = shown(*words).splitlines()
    heads = [above for above, line in pairwise(lines) if line.strip(" ─") == "" and "─" in line]
    assert heads
    for head in heads:
        assert all(len(word) > 2 for word in head.split() if word not in ("MB", "ID")), head


@pytest.mark.parametrize(
    ("words", "whole"), LISTS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_no_list_passes_control_characters_on(words: list[str], whole: list[str], shown: Callable[..., str]) -> None:
    for wide in ([], ["-o", "wide"]):
        out = shown(*words, *wide)
        assert all(char.isprintable() or char == "\n" for char in out)


def test_wide_has_all_columns(shown: Callable[..., str]) -> None:
    narrow, wide = shown("agents"), shown("agents", "-o", "wide")
    for name in ("AGENT", "HOST", "STATE", "CELL", "TASKS", "CPUS", "MEM", "RESERVED FOR", "ATTRIBUTES", "HEARD"):
        assert name in wide
    assert "CELL" not in narrow and "CELL" in wide
    assert "machine:m5d.24xlarge;rack:r1;zone:eu-central-1a" in wide
    assert "CELL" not in shown("agents"), "the next command is narrow again"
