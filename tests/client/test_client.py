from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.client import Client
from broker_mesos.client.names import new_job_id
from broker_mesos.client.spec import build_spec, megabytes, parse_array
from broker_mesos.core.api.files import ReadLog
from broker_mesos.core.api.jobs import SubmitJob, WaitJob
from broker_mesos.errors import Conflict, InvalidInput, NotFound, TimedOut, Unavailable
from tests.operator.fakes import FakeCluster, serving


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def client(cluster: FakeCluster) -> Iterator[Client]:
    with serving(cluster) as url, Client(url, timeout=5) as made:
        yield made


def test_a_job_is_submitted_waited_for_and_read(client: Client, cluster: FakeCluster) -> None:
    job = client.submit(["echo", "a b"], cpus=0.5, mem="1G", env={"LEVEL": 3}, constraints="rack==r1")
    spec = cluster.specs[job.id]
    assert spec.command.arguments == ("echo", "a b") and not spec.command.shell
    assert str(spec.resources) == "cpus:0.5;mem:1024" and spec.command.environment == {"LEVEL": "3"}
    assert spec.name == "echo" and [str(each) for each in spec.constraints] == ["rack==r1"]
    assert job.wait(10).exit_code == 0
    assert job.status().state == "finished"
    assert b"".join(job.logs()) == b"out\n"
    assert b"".join(job.logs(stream="stderr", follow=True)) == b"err\n"
    assert [task.exit_code for task in job.tasks()] == [0]
    assert [summary.job_id for summary in client.jobs()] == [job.id]
    assert client.kill(job.id).kind == "job"
    assert [summary.state for summary in job.watch()] == ["finished"]


def test_a_long_output_is_read_piece_by_piece(client: Client, cluster: FakeCluster) -> None:
    cluster.output["stdout"] = bytes(range(256)) * 1000
    job = client.submit("true")
    pieces = list(job.logs())
    assert b"".join(pieces) == cluster.output["stdout"] and len(pieces) == 4
    asked = [each for each in cluster.asked if isinstance(each, ReadLog)]
    assert asked[0].task_id == job.id and {each.task_id for each in asked[1:]} == {f"{job.id}.0.1"}


def test_tasks_come_page_by_page(client: Client) -> None:
    job = client.submit("true", array=2_500)
    indices = [task.index for task in job.tasks()]
    assert indices == list(range(1, 2_501))


def test_errors_of_the_cluster_arrive_as_what_they_are(client: Client, cluster: FakeCluster) -> None:
    with pytest.raises(NotFound, match="no job nope"):
        client.job("nope").status()
    client.submit("true", job_id="mine")
    assert client.submit("true", job_id="mine").id == "mine"
    with pytest.raises(Conflict, match="differs"):
        client.submit("false", job_id="mine")
    cluster.failing["GET_JOBS"] = TimedOut("no answer")
    with pytest.raises(TimedOut, match="no answer"):
        client.jobs()
    with pytest.raises(InvalidInput, match="is not an id"):
        client.job("a/b").status()


def test_a_submit_is_sent_again_under_the_same_id(client: Client, cluster: FakeCluster) -> None:
    client.cluster()
    cluster.failing["SUBMIT_JOB"] = Unavailable("lost")
    cluster.failing_times["SUBMIT_JOB"] = 1
    job = client.submit("true")
    submits = [each for each in cluster.asked if isinstance(each, SubmitJob)]
    assert [each.job_id for each in submits] == [job.id, job.id]


def test_a_wait_rides_out_lost_answers(client: Client, cluster: FakeCluster) -> None:
    job = client.submit("true")
    cluster.failing["WAIT_JOB"] = Unavailable("lost")
    cluster.failing_times["WAIT_JOB"] = 2
    assert job.wait().state == "finished"
    assert sum(isinstance(each, WaitJob) for each in cluster.asked) == 3
    cluster.failing_times.clear()
    cluster.failing["WAIT_JOB"] = Unavailable("gone for good")
    with pytest.raises(Unavailable, match="gone for good"):
        job.wait(0.2)


def test_a_short_job_is_run_in_one_request(client: Client, cluster: FakeCluster) -> None:
    assert client.run(["true"], cpus=0.5, job_id="mine").state == "finished"
    (submit,) = (each for each in cluster.asked if isinstance(each, SubmitJob))
    assert submit.wait > 0 and submit.job_id == "mine"
    with pytest.raises(InvalidInput, match="cpus"):
        client.run("true", cpus=-1)


def test_an_idle_connection_that_the_server_closed_is_replaced(cluster: FakeCluster) -> None:
    with serving(cluster) as first:
        port = int(first.rsplit(":", 1)[1])
        client = Client(first)
        client.cluster()
    with pytest.raises(Unavailable, match=f"nothing listens at 127.0.0.1:{port}"):
        client.cluster()
    client.close()


def test_another_program_on_the_port_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            with pytest.raises(Unavailable, match="does not speak the operator API"):
                client.cluster()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with Client(f"http://127.0.0.1:{port}", timeout=0.1) as client:
            with pytest.raises(TimedOut, match=f"127.0.0.1:{port} did not answer within"):
                client.cluster()


def test_an_unknown_broker_is_unavailable_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Client(f"amqp://me:hush@127.0.0.1:{port}/", timeout=0.3) as client:
        with pytest.raises(Unavailable, match=str(port)) as caught:
            client.cluster()
    assert "hush" not in str(caught.value)


# -- what people write ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "indices"),
    [(50, (1, 50)), ("50", (1, 50)), ("0-9", (0, 9)), (" 3 - 5 ", (3, 5)), ((0, 4), (0, 4))],
)
def test_an_array_is_a_number_or_a_range(text: int | str, indices: tuple[int, int]) -> None:
    assert parse_array(text) == (indices, (), 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"array": 0}, "at least one task"),
        ({"array": "a-b"}, "FIRST-LAST"),
        ({"array": True}, "FIRST-LAST"),
        ({"array": "5-1"}, "array 5-1"),
        ({"array": "0-10000000"}, "split the job"),
        ({"cpus": -1}, "cpus -1"),
        ({"cpus": float("nan")}, "cpus nan"),
        ({"cpus": 0, "mem": 0}, "some resources"),
        ({"mem": "much"}, "mem 'much'"),
        ({"resources": "cpus:x"}, "cpus"),
        ({"env": {"A=B": "x"}}, "env 'A=B'"),
        ({"env": {"A": True}}, "in quotes"),
        ({"env": {"A": "\0"}}, "zero byte"),
        ({"env": {"A": "a\udcff"}}, "not UTF-8"),
        ({"name": "\udcff"}, "not UTF-8"),
        ({"retries": -1}, "retries"),
        ({"priority": 10**9}, "priority"),
        ({"constraints": ["?"]}, "not a constraint"),
        ({"role": "a b"}, "'a b' is not a role"),
        ({"role": ""}, "a role of 0 characters"),
        ({"chdir": ""}, "chdir is empty"),
        ({"chdir": "../x"}, "neither an absolute path nor one within the task's sandbox"),
        ({"task_user": ""}, "task_user is empty"),
        ({"task_user": "../x"}, "not the name of a user of a machine"),
        ({"task_user": "a b"}, "not the name of a user of a machine"),
        ({"stdin": "/no/such/file"}, "cannot read stdin '/no/such/file': No such file"),
        ({"stdin": "/"}, "Is a directory"),
        ({"stdin": "a\0b"}, "cannot read stdin"),
        ({"stdin": "/dev/zero"}, "stdin /dev/zero has more than 131072 bytes"),
        ({"stdin": b"x" * 131_073}, "has more than 131072 bytes"),
        ({"stdout": "/etc/passwd"}, "not the name of a file in the task's sandbox"),
        ({"stdout": "%n", "stderr": "%x"}, "both go to 'true'"),
        ({"stderr": "%z"}, "%z has no meaning"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(words: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_spec("true", **words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["", [], [""], ["a\0b"], ["\udcff"]])
def test_a_command_is_needed(command: str | list[str]) -> None:
    with pytest.raises(InvalidInput):
        build_spec(command)


def test_the_input_is_what_is_in_a_file_here_or_bytes(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\0\xff")
    files = [b"\0\xff", str(tmp_path / "in"), tmp_path / "in"]
    assert {build_spec("cat", stdin=each).command.stdin for each in files} == {"AP8="}


def test_a_role_a_folder_and_names_of_output_are_options_of_a_job() -> None:
    spec = build_spec("true", role="eng/db", chdir="/data", stdout="%j.out", stderr="%j.err", task_user="eng")
    command = spec.command
    assert command.user == "eng"
    assert (spec.role, command.directory, command.stdout, command.stderr) == ("eng/db", "/data", "%j.out", "%j.err")


def test_sizes_are_megabytes_or_have_a_unit() -> None:
    sizes: list[str | int] = ["512", 512, "512M", "0.5G", "0.5 GiB", "524288K"]
    assert {megabytes("mem", size) for size in sizes} == {"512"}
    assert megabytes("mem", "1K") == "0.0009765625" and megabytes("mem", "0.3T") == "314572.8"


def test_resources_go_before_the_single_amounts() -> None:
    spec = build_spec("true", cpus=4, resources="cpus:2;licences:3")
    assert str(spec.resources) == "cpus:2;mem:128;licences:3"


def test_text_is_for_the_shell_and_names_the_job() -> None:
    spec = build_spec("echo $HOME | " + "x" * 100)
    assert spec.command.shell and len(spec.name) == 40 and spec.name.startswith("echo $HOME")


def test_ids_are_short_and_differ() -> None:
    ids = {new_job_id() for _ in range(1_000)}
    assert len(ids) == 1_000 and {len(each) for each in ids} == {10}
