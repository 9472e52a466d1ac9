"""`bmesos doctor` on an embedded cluster, on none, and on servers of its own."""

from __future__ import annotations

import json

import pytest

from broker_mesos.cli import main
from tests.cli.embedded import embedded
from tests.servers import RedisServer, free_port

Captured = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("empty_place")


def test_a_healthy_cluster_has_exit_code_0(capsys: Captured) -> None:
    with embedded() as cluster:
        capsys.readouterr()
        assert main(["--url", cluster.url, "doctor"]) == 0
        out = capsys.readouterr().out
        assert out.splitlines()[0].split("  ")[0] == "STATE" and "error" not in out and "warning" not in out
        assert main(["--url", cluster.url, "doctor", "-o", "json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["worst"] == "ok" and {each["level"] for each in found["findings"]} == {"ok"}
        # The memory of a process may go away, too.
        cluster.cluster._state.available = False
        assert main(["--url", cluster.url, "doctor"]) == 1
        out = capsys.readouterr().out
        assert "switched off" in out and "solve this first" in out
        cluster.cluster._state.available = True


def test_the_story_of_a_task_is_printed_with_its_causes(capsys: Captured) -> None:
    with embedded() as cluster:
        job = "story"
        assert main(["--url", cluster.url, "submit", "--job-id", job, "--wait", "--", "true"]) == 0
        capsys.readouterr()
        assert main(["--url", cluster.url, "doctor", "--story", f"{job}.0.1"]) == 0
        found = capsys.readouterr()
        lines = found.out.splitlines()
        assert lines[0].split() == ["TIME", "CAUSE", "ID", "CAUSE", "EFFECTS"]
        assert any("ACCEPT" in each and f"launch {job}.0.1" in each for each in lines)
        assert f"TASK_FINISHED {job}.0.1 batch" in found.out and "remember" in found.err
        assert main(["--url", cluster.url, "doctor", "--story", f"{job}.0.1", "--limit", "1", "-o", "json"]) == 0
        (last,) = json.loads(capsys.readouterr().out)["decisions"]
        assert last["cause"] and last["effects"]
        assert main(["--url", cluster.url, "doctor", "--story", "nobody"]) == 3
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and "no decision about nobody" in told.err


def test_no_server_at_all_is_one_line_and_exit_code_4(capsys: Captured) -> None:
    assert main(["--url", f"http://127.0.0.1:{free_port()}", "doctor"]) == 4
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "nothing listens" in told.err


@pytest.mark.servers
def test_servers_are_tried_from_here_where_they_are_named(
    rabbitmq_url: str, cluster_name: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMESOS_BROKER_URL", rabbitmq_url)
    monkeypatch.setenv("BMESOS_CLUSTER", cluster_name)
    monkeypatch.setenv("BMESOS_URL", f"http://127.0.0.1:{free_port()}")
    with RedisServer(config={"appendonly": "no"}) as redis:
        monkeypatch.setenv("BMESOS_STORE_URL", redis.url)
        # Nobody answers for the cluster, but the servers are there.
        assert main(["doctor", "-o", "json"]) == 4
        found = json.loads(capsys.readouterr().out)["findings"]
    by = {(each["subject"], each["level"]) for each in found}
    assert by == {
        ("operator API", "error"),
        ("broker, from here", "ok"),
        ("store, from here", "ok"),
        ("store, from here", "warning"),
    }
    assert any("no append-only file" in each["found"] for each in found)


@pytest.mark.servers
def test_a_server_that_cannot_be_used_is_an_error_with_the_reason(
    cluster_name: str, rabbitmq_url: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded() as cluster, RedisServer(config={"maxmemory-policy": "allkeys-lru"}) as redis:
        monkeypatch.setenv("BMESOS_URL", cluster.url)
        monkeypatch.setenv("BMESOS_STORE_URL", redis.url)
        monkeypatch.setenv("BMESOS_BROKER_URL", rabbitmq_url.replace("guest:guest", "guest:wr0ng"))
        capsys.readouterr()
        assert main(["doctor"]) == 1
        told = capsys.readouterr()
        assert "allkeys-lru" in told.out and "set maxmemory-policy to noeviction" in told.out
        assert "wr0ng" not in told.out + told.err
