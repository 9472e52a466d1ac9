"""What a dashboard reads of a large cluster on real servers: nothing is left out without being said."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from broker_mesos.core.api.agent_table import AgentColumns
from tests.e2e.cluster import BMESOS, Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until

AGENTS = 2_500


@contextmanager
def simulated(cluster: Cluster, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """So many simulated agents, once all of them are registered."""
    words = [BMESOS, "simulate", "agents", "--count", str(count)]
    fleet = subprocess.Popen(
        words, cwd=cluster.tmp, env=cluster.environment("simulate", "fleet"), stdout=subprocess.DEVNULL
    )
    try:
        client = cluster.client()

        def registered() -> bool:
            assert fleet.poll() is None, "the simulated agents have ended"
            return client.state(limit=0).counts.get("agents") == count

        until("all agents are registered", registered, 120)
        yield fleet
    finally:
        fleet.terminate()
        fleet.wait(60)


def follow(http: httpx.Client, known: dict[str, int], token: str) -> tuple[str, int]:
    """Apply what has changed; returns the next token and the number of changes."""
    changes = 0
    while True:
        answer = http.get("/api/v1/agents/columns", params={"follow": "true", "changed_since": token})
        assert answer.status_code == 200, answer.text
        found = AgentColumns.model_validate_json(answer.content)
        assert found.missing == () and len(answer.content) < 1_000_000
        for ident in [each for each, cell in known.items() if cell in found.reset]:
            del known[ident]
        for ident in found.removed:
            known.pop(ident, None)
        known.update(zip(found.ids, found.cells, strict=True))
        changes += len(found.ids) + len(found.removed)
        token = found.token
        if not found.more:
            return token, changes


def every_page(http: httpx.Client, path: str, part: str, **params: Any) -> list[str]:
    after, seen = "", []
    while True:
        found = http.get(path, params={**params, "after": after}).json()
        seen += found[part] if part == "ids" else [each["agent_id"] for each in found[part]]
        assert bool(found["after"]) == bool(found["truncated"]) and found["missing"] == []
        after = found["after"]
        if not after:
            return seen


def test_all_of_many_agents_are_read_by_pages_as_columns_and_by_following(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    masters = [cluster.master(cells=2), cluster.master(cells=2)]
    web = cluster.web()
    cluster.ready()
    with simulated(cluster, AGENTS), httpx.Client(base_url=web.url, timeout=60) as http:
        pages = every_page(http, "/api/v1/agents", "agents", limit=2_000)
        assert len(pages) == len(set(pages)) == AGENTS
        by_load = every_page(http, "/api/v1/agents/columns", "ids", sort="-tasks", limit=700)
        assert len(by_load) == len(set(by_load)) == AGENTS
        listed = json.loads(cluster.cli("agents", "-o", "json").stdout)
        assert {each["agent_id"] for each in listed} == set(pages) and len(listed) == AGENTS

        known: dict[str, int] = {}
        token, changes = follow(http, known, "")
        assert set(known) == set(pages) and changes >= AGENTS
        token, changes = follow(http, known, token)
        assert changes == 0, "nothing has changed"
        chosen = pages[7]
        cluster.client().deactivate_agents(chosen)
        token, changes = follow(http, known, token)
        assert changes == 1
        one = http.get("/api/v1/agents/columns", params={"filter": "state=deactivated"}).json()
        assert one["ids"] == [chosen] and one["match"] == 1 and one["total"] == AGENTS

        # The owner of some cells goes, and with it what it knew of the changes: nobody may miss any for it.
        masters[0].kill()
        client = cluster.client()
        until("all cells have an owner", lambda: not client.state(limit=0).missing, 60)
        client.activate_agents(chosen)
        token, changes = follow(http, known, token)
        assert set(known) == set(pages)
        _, changes = follow(http, known, token)
        assert changes == 0


def kinds_of(cluster: Cluster, *words: str) -> list[str]:
    return [each["kind"] for each in json.loads(cluster.cli("events", "-o", "json", "--limit", "1000", *words).stdout)]


def test_events_tell_of_jobs_agents_and_takeovers_also_behind_another_master(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    masters = [cluster.master(cells=1), cluster.master(cells=1)]
    agent = cluster.agent(resources="cpus:4;mem:4096")
    cluster.batch()
    web = cluster.web()
    cluster.ready()
    client = cluster.client()
    job = client.submit("exit 3", array=20, mem=16)
    assert job.wait(60).state == "failed"
    until("the ends of the tasks are events", lambda: "task.failed" in kinds_of(cluster, "--kind", "task"))
    found = client.events(kinds=("task.failed",))
    assert sum(each.count for each in found.events) == 20
    assert {ident.partition(".")[0] for each in found.events for ident in each.ids} == {job.id}
    before = client.events(limit=1).events[-1].id
    owner = client.cluster().cells[0].owner
    owning = next(each for each in masters if each.pid == client.cluster().cells[0].pid)
    owning.kill()
    until("another master owns the cell", lambda: client.cluster().cells[0].owner not in ("", owner), 60)
    until("the takeover is an event", lambda: "cell.owned" in kinds_of(cluster, "--after", before))
    (taken,) = client.events(after=before, kinds=("cell",)).events
    assert taken.data["before"] == owner and taken.cell == 0 and float(taken.data["silence"]) >= 0
    agent.kill()
    client.mark_agent_gone(client.agents()[0].agent_id)
    until("the agent is gone", lambda: "agent.gone" in kinds_of(cluster, "--kind", "agent"))
    answer = httpx.get(f"{web.url}/api/v1/events", params={"kinds": "agent.gone,cell", "after": "0"}).json()
    assert [each["kind"] for each in answer["events"]] == ["cell.owned", "cell.owned", "agent.gone"]
    assert not answer["lost"] and answer["last"] == answer["events"][-1]["id"]
    shown = cluster.cli("top", "--once").stdout
    assert "1 gone" in shown and "jobs:" in shown
