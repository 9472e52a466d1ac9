"""Every operator request is declared in its class, and somebody answers it where its class says."""

from __future__ import annotations

import inspect
import pkgutil
from typing import Any, cast

import pytest

from broker_mesos import client as client_package
from broker_mesos.client import client as client_module
from broker_mesos.client import jobs as client_jobs
from broker_mesos.client import reservations as client_reservations
from broker_mesos.client import views as client_views
from broker_mesos.core import api
from broker_mesos.core.api.catalog import REQUEST_MODULES, REQUESTS, USER_REQUESTS
from broker_mesos.core.api.cluster import Hello
from broker_mesos.core.api.exec import AgentExec, PassExec, StartExec, UseExec
from broker_mesos.core.api.files import ListSandbox, ReadFile, ReadLog
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.jobs import GetJobs, SubmitJob, WaitJob
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.usage import ReadUsage
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.protocol.wire import REGISTRY
from broker_mesos.enroll.service import EnrolmentService
from broker_mesos.errors import InvalidMessage
from broker_mesos.frameworks.batch.api import BatchApi
from broker_mesos.frameworks.registry import JOBS, framework_for
from broker_mesos.master.cell_api import CellApi
from broker_mesos.operator.gateway import Gateway

ANY: Any = None
EXEC_ID = "0" * 32


def of(route: Route) -> list[type[Request]]:
    return [kind for kind in REQUESTS.values() if kind.ROUTE is route]


def unanswered(handlers: Handlers, kinds: list[type[Request]]) -> list[str]:
    return [kind.TYPE for kind in kinds if handlers.find(kind) is None]


def test_every_module_of_requests_is_in_the_catalog() -> None:
    modules = {each.name for each in pkgutil.iter_modules(api.__path__)}
    listed = {module.__name__.rpartition(".")[2] for module in REQUEST_MODULES}
    others = modules - listed
    for name in others - {"catalog"}:
        __import__(f"{api.__name__}.{name}")
    assert {name for name, kind in REGISTRY.items() if kind.__module__.startswith(f"{api.__name__}.")} == {
        *REQUESTS,
        "ANSWER",
    }


@pytest.mark.parametrize("kind", REQUESTS.values(), ids=lambda kind: kind.TYPE)
def test_every_request_declares_its_route_and_its_answer(kind: type[Request]) -> None:
    assert isinstance(kind.ROUTE, Route) and kind.ANSWER is not Part and kind.__doc__
    if kind.ROUTE is Route.FRAMEWORK:
        assert framework_for(kind.TYPE) is JOBS
    if kind.ROUTE is Route.CELL:
        assert "agent_id" in kind.model_fields, "the gateway finds the cell by it"


def test_every_request_declares_its_right_but_those_that_anybody_may_send() -> None:
    assert {kind.TYPE for kind in REQUESTS.values() if kind.RIGHT is None} == {"HELLO", "WHO_AM_I"}
    # Whatever changes something needs more than the right to look.
    views = {kind.TYPE for kind in USER_REQUESTS.values() if kind.RIGHT is Right.VIEW}
    assert all(
        name.startswith(("GET_", "WAIT_", "READ_", "LIST_FILES", "SEARCH", "EXPLAIN", "PLAN_JOB")) for name in views
    )


def test_somebody_answers_every_request_where_its_class_says() -> None:
    gateway = Gateway(ANY).handlers(1.0)
    cell = CellApi(ANY, "m", commit=ANY, now=ANY, load=ANY, read_config=ANY).handlers
    assert unanswered(gateway, of(Route.GATEWAY)) == []
    assert unanswered(gateway, [kind for kind in of(Route.CELLS) if kind.FOR_USERS]) == []
    assert unanswered(cell, of(Route.CELLS) + of(Route.CELL)) == []
    batch = BatchApi(ANY, ANY, ANY, ANY, ANY, ANY, ANY).handlers
    assert unanswered(batch, [kind for kind in of(Route.FRAMEWORK) if framework_for(kind.TYPE) is JOBS]) == []
    assert of(Route.AGENT) == [AgentExec, ListSandbox, ReadFile, ReadUsage]
    enroll = EnrolmentService(ANY, ANY, ANY, ANY).handlers
    assert unanswered(enroll, of(Route.ENROLL)) == []


def test_the_client_sends_every_request_of_users() -> None:
    sources = "".join(
        inspect.getsource(module)
        for module in (client_module, client_jobs, client_reservations, client_views, client_package)
    )
    from broker_mesos.cli import job_usage
    from broker_mesos.cli import jobs as cli_jobs

    sources += inspect.getsource(cli_jobs) + inspect.getsource(job_usage)
    # HELLO is for agents and frameworks, USE_EXEC is sent by a session, in JSON, KILL_TASK ends a task by another id
    # than people have, and GET_HEALTH has the report of every worker.
    left_out = {"HELLO", "KILL_TASK", "GET_JOB", "USE_EXEC", "GET_WORKER_HEALTH"}
    absent = {name for name, kind in USER_REQUESTS.items() if kind.__name__ not in sources and name not in sources}
    assert absent <= left_out


@pytest.mark.parametrize(
    ("request_", "seconds"),
    [
        (Hello(), 0.0),
        (GetJobs(), 0.0),
        (WaitJob(job_id="j", seconds=7), 7.0),
        (SubmitJob(job_id="j", spec=JobSpec(command=CommandInfo(arguments=("true",))), wait=3), 3.0),
        (ReadLog(task_id="t", wait=2), 2.0),
        (ReadFile(task_id="t", wait=2), 2.0),
        (StartExec(task_id="t", exec_id=EXEC_ID, argv=("true",)), 0.0),
        (UseExec(exec_id=EXEC_ID, agent_id="a", wait=2), 2.0),
        (PassExec(agent_id="a", use=UseExec(exec_id=EXEC_ID, agent_id="a", wait=2)), 2.0),
        (AgentExec(use=UseExec(exec_id=EXEC_ID, agent_id="a", wait=2)), 2.0),
    ],
    ids=lambda value: value.TYPE if isinstance(value, Request) else "",
)
def test_a_request_says_how_long_its_answer_may_be_held_back(request_: Request, seconds: float) -> None:
    assert request_.wait_seconds == seconds


@pytest.mark.parametrize("kind", REQUESTS.values(), ids=lambda kind: kind.TYPE)
def test_every_request_with_a_time_to_wait_holds_its_answer_back(kind: type[Request]) -> None:
    fields = {"wait", "seconds"} & kind.model_fields.keys()
    for name in fields:
        given = cast(Any, kind.model_construct(**{name: 4.0}))
        assert given.wait_seconds == 4.0


async def test_a_request_that_a_daemon_does_not_answer_names_where_it_belongs() -> None:
    class Asked(Request):
        TYPE = "ASKED"
        ROUTE = Route.AGENT

    with pytest.raises(InvalidMessage, match="ASKED is not for a master: it is for agent"):
        await Handlers("a master").answer(Asked())
