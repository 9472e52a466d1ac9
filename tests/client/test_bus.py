"""The client over RabbitMQ itself."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker_mesos.bus.open import open_bus
from broker_mesos.bus.responder import Responder
from broker_mesos.cli import main
from broker_mesos.client import Client
from broker_mesos.client.jobs import JobClient
from broker_mesos.client.spec import build_spec, describe
from broker_mesos.core.api.files import FileChunk, ReadFile
from broker_mesos.core.api.request import Request
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.wire import REGISTRY
from broker_mesos.errors import InvalidInput, Unavailable
from broker_mesos.runtime.clock import SystemClock
from tests.operator.fakes import FakeCluster
from tests.servers import RabbitMQServer


@pytest.fixture
async def batch(rabbitmq_url: str, cluster_name: str) -> AsyncIterator[FakeCluster]:
    """Something that answers as the batch framework does, and as an agent that has run all tasks."""
    cluster, numbers = FakeCluster(), itertools.count()
    bus = open_bus(rabbitmq_url, name="fake batch", cluster=cluster_name)
    await bus.open(60)

    async def read(request: Request) -> FileChunk:
        assert isinstance(request, ReadFile) and request.task_id.endswith(".0.1")
        whole = cluster.output[request.name]
        return FileChunk.of(whole[request.offset :], request.offset, len(whole), ended=True)

    serving = []
    for queue, handler in (
        (Queue(QueueKind.OPERATOR_FRAMEWORK, "batch"), cluster.handle),
        (Queue(QueueKind.OPERATOR_AGENT, "a1"), read),
    ):
        responder = Responder(bus, queue, handler, SystemClock(), lambda: str(next(numbers)))
        serving.append(asyncio.create_task(responder.run()))
        await asyncio.wait_for(responder.consuming.wait(), 60)
    yield cluster
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await bus.close()


async def test_a_job_is_submitted_and_waited_for_without_http(
    batch: FakeCluster, rabbitmq_url: str, cluster_name: str
) -> None:
    def use() -> tuple[str, int | None]:
        with Client(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            job = client.submit("true")
            return job.id, job.wait(10).exit_code

    job_id, code = await asyncio.to_thread(use)
    assert code == 0 and list(batch.specs) == [job_id]


@pytest.mark.parametrize("line", ["submit --wait -- true", "run -- true", "wait j1", "logs j1", "history"])
async def test_a_command_about_a_job_loads_no_models(
    line: str, batch: FakeCluster, rabbitmq_url: str, cluster_name: str, tmp_path: Path
) -> None:
    program = (
        f"import sys\nfrom broker_mesos.cli import main\nassert main({line.split()!r}) == 0\n"
        "heavy = {'typer', 'click', 'pydantic', 'redis', 'structlog', 'http.client'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))"
    )
    batch.specs["j1"] = build_spec("true")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"BMESOS_URL": rabbitmq_url, "BMESOS_CLUSTER": cluster_name},
        cwd=tmp_path,
    )
    output, errors = await process.communicate()
    *said, loaded = output.decode().splitlines()
    assert process.returncode == 0 and loaded == "loaded:", (output, errors)
    assert ("out" in said) is line.startswith(("run", "logs"))


async def test_the_id_of_no_task_is_refused_in_one_line(
    batch: FakeCluster, rabbitmq_url: str, cluster_name: str
) -> None:
    def use() -> None:
        with JobClient(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            with pytest.raises(InvalidInput, match="'a/b' is not an id"):
                list(client.read("a/b"))
            with pytest.raises(InvalidInput, match="only UTF-8 can be sent"):
                list(client.read("\udcff"))

    await asyncio.to_thread(use)


async def test_what_an_agent_sends_is_checked_before_it_is_printed(
    batch: FakeCluster, rabbitmq_url: str, cluster_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.specs["j1"] = build_spec("true")
    monkeypatch.setattr(FileChunk, "model_dump", lambda *args, **kwargs: {"data": 7})

    def use() -> None:
        with JobClient(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            with pytest.raises(InvalidInput, match="agent a1 has sent something else"):
                list(client.read("j1"))

    await asyncio.to_thread(use)


async def test_what_is_wrong_with_a_job_is_said_by_who_receives_it(
    batch: FakeCluster, rabbitmq_url: str, cluster_name: str
) -> None:
    def use() -> list[str]:
        with JobClient(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            said = []
            for field, value in (("retries", -1), ("name", "\udcff")):
                with pytest.raises(InvalidInput) as caught:
                    client.store("j1", {**describe("true"), field: value})
                said.append(str(caught.value))
            return said

    number, text = await asyncio.to_thread(use)
    assert number == "retries: write at least 0" and "only UTF-8 can be sent" in text
    assert not batch.specs


@pytest.mark.parametrize("way", ["command", "client"])
async def test_a_worker_that_knows_no_roles_does_not_kill_the_jobs_of_all_of_them(
    way: str,
    batch: FakeCluster,
    rabbitmq_url: str,
    cluster_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(REGISTRY, "KILL_JOBS_OF_ROLE")
    monkeypatch.setenv("BMESOS_URL", rabbitmq_url)
    monkeypatch.setenv("BMESOS_CLUSTER", cluster_name)

    def use() -> None:
        with Client(timeout=10) as client:
            client.kill_jobs(role="ops")

    if way == "client":
        with pytest.raises(InvalidInput, match="earlier release"):
            await asyncio.to_thread(use)
    else:
        assert await asyncio.to_thread(main, ["kill", "--role", "ops"]) == 2
        assert capsys.readouterr().err == (
            "bmesos: the cluster is of an earlier release, which has no KILL_JOBS_OF_ROLE: upgrade it\n"
        )
    assert batch.asked == []


async def test_a_cluster_without_masters_is_unavailable(rabbitmq_url: str, cluster_name: str) -> None:
    def use() -> None:
        with Client(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            with pytest.raises(Unavailable, match="GET_CLUSTER at master"):
                client.cluster()

    await asyncio.to_thread(use)


def test_wrong_credentials_are_named_without_the_password(rabbitmq_server: RabbitMQServer) -> None:
    parts = urlsplit(rabbitmq_server.url)
    url = f"amqp://nobody:hush@{parts.hostname}:{parts.port}/"
    with Client(url, timeout=10) as client:
        with pytest.raises(Unavailable, match=str(parts.port)) as caught:
            client.cluster()
    assert "hush" not in str(caught.value)
