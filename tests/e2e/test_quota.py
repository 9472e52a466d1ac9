"""A limit, over several cells, on real servers: never passed, and nobody starves below it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import accumulate

import pytest

from broker_mesos.errors import InvalidInput
from tests.e2e import greedy
from tests.e2e.conftest import NewCluster

LIMIT = 3


def test_two_roles_in_two_cells_never_run_more_than_the_limit_above_them(new_cluster: NewCluster):
    cluster = new_cluster()
    cluster.master(cells=2)
    cluster.master(cells=2)
    cluster.ready()
    while len({agent.cell for agent in cluster.client().agents()}) < 2:
        cluster.agent(resources="cpus:4;mem:4096;disk:0;ports:[]")
        cluster.ready()
    words = ("role", "quota", "set", "eng", "--limit", f"cpus:{LIMIT}")
    assert cluster.cli(*words).returncode == 0
    log = cluster.tmp / "log"
    log.touch()

    frameworks = [
        subprocess.Popen([sys.executable, greedy.__file__, role, "8", str(log)], env=cluster.env)
        for role in ("eng/db", "eng/web")
    ]
    assert [each.wait(60) for each in frameworks] == [0, 0]

    changes = [1 if line == "+" else -1 for line in log.read_text().split()]
    assert len(changes) == 32
    assert max(accumulate(changes)) <= LIMIT
    (eng,) = [each for each in json.loads(cluster.cli("roles", "-o", "json").stdout) if each["limit"]]
    assert (eng["role"], eng["limit"], eng["held"]) == ("eng", f"cpus:{LIMIT}", "")

    client = cluster.client()
    answer = client.set_roles({"eng": {"limit": "cpus:0"}})
    assert (answer.roles["eng"].limit, answer.unconfirmed) == ("cpus:0", ())
    assert {each.limit for each in client.roles() if each.role == "eng"} == {"cpus:0"}, "in effect in both cells"
    with pytest.raises(InvalidInput, match="is guaranteed in it"):
        client.set_roles({"eng": {"guarantee": "cpus:1"}}, force=True)
