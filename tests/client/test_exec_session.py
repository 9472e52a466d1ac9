"""The client of exec sessions: nothing is lost or doubled when answers are lost."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from broker_mesos.client import Client
from broker_mesos.client.exec_session import ExecSession
from broker_mesos.core.protocol.wire import REGISTRY
from broker_mesos.errors import Conflict, InvalidInput, NotFound, TimedOut, Unavailable
from tests.cli.embedded import Embedded, embedded
from tests.e2e.waiting import until_running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Embedded]:
    with embedded() as made:
        yield made


@pytest.fixture(scope="module")
def task(cluster: Embedded) -> Iterator[str]:
    with Client(cluster.url) as client:
        job = client.submit("exec sleep 100000")
        until_running(client, job.id)
        yield job.id
        job.kill()


class Losing(Client):
    """A client that loses every second answer to a request about a session."""

    _numbers = itertools.count()

    def call(self, kind: str, fields: Mapping[str, Any], timeout: float | None = None, held: float = 0.0) -> Any:
        answer = super().call(kind, fields, timeout, held)
        if kind.endswith("_EXEC") and next(self._numbers) % 2:
            raise TimedOut("the answer is lost")
        return answer


def test_nothing_is_lost_or_doubled_when_answers_are_lost(cluster: Embedded, task: str) -> None:
    data = os.urandom(300_000)
    with Losing(cluster.url) as client, client.exec(task, ["cat"], stdin=True) as session:
        writer = threading.Thread(target=session.write, args=(data, True))
        writer.start()
        found = b"".join(chunk.data for chunk in session.output())
        writer.join(60)
    assert found == data and session.end is not None and session.end.code == 0


def test_the_streams_and_the_exit_code_of_a_command(cluster: Embedded, task: str) -> None:
    with Client(cluster.url) as client, client.exec(task, ["sh", "-c", "echo a; echo b >&2; exit 3"]) as session:
        found = {chunk.stream: chunk.data for chunk in session.output()}
    assert found == {"stdout": b"a\n", "stderr": b"b\n"}
    assert session.end is not None and (session.end.exit_code, session.end.code) == (3, 3)


def test_what_cannot_be_right_is_refused_before_anything_is_sent(cluster: Embedded, task: str) -> None:
    with Client(cluster.url) as client:
        for argv, text in ((["a\0b"], "NUL"), ([], "at least 1"), (["x" * 70_000], "put it into a file of the task")):
            with pytest.raises(InvalidInput, match=text):
                client.exec(task, argv)
        with pytest.raises(NotFound, match="no job or task none"):
            client.exec("none", ["true"])
        ended = client.run("true").job_id
        with pytest.raises(Conflict, match="does not run: it is finished since"):
            ExecSession(client, ended, ["true"])


def test_an_agent_of_an_earlier_release_is_told_apart_from_a_wrong_command(
    cluster: Embedded, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(REGISTRY, "AGENT_EXEC")
    with Client(cluster.url) as client:
        with pytest.raises(Unavailable, match="agent agent-1, or a master, is of an earlier release, without exec"):
            client.exec(task, ["true"])


def test_a_session_that_was_closed_is_gone(cluster: Embedded, task: str) -> None:
    with Client(cluster.url) as client:
        session = client.exec(task, ["sleep", "1000"])
        session.close()
        session.close()
        with pytest.raises(NotFound, match="is gone"):
            next(session.output())
