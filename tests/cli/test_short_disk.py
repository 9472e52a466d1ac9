"""`bmesos agents`, `explain` and `doctor` on a cluster whose agent has a disk that is nearly full."""

from __future__ import annotations

import os

import pytest

from broker_mesos.agent import probe
from broker_mesos.cli import main
from broker_mesos.containerizer.disk_space import DiskSpace
from tests.cli.embedded import embedded

Captured = pytest.CaptureFixture[str]
REASON = "no task is started, since the disk is short: 500 MB are free, and 1,024 MB are kept free"


def test_an_agent_on_a_short_disk_is_named_with_the_reason_and_gets_no_task(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    for name in list(os.environ):
        if name.startswith("BMESOS_"):
            monkeypatch.delenv(name)
    space = [DiskSpace(100 << 30, 500 << 20, 99 << 30, 0, 0)]
    monkeypatch.setattr(probe, "disk_space", lambda folder: space[0])
    with embedded() as cluster:
        monkeypatch.setenv("BMESOS_URL", cluster.url)
        while True:
            assert main(["agents"]) == 0
            err = capsys.readouterr().err
            if err:
                break
        assert err.startswith("bmesos: agent-") and err.endswith(f": {REASON}\n")
        main(["doctor"])
        assert REASON in " ".join(capsys.readouterr().out.split())
        assert main(["submit", "--", "true"]) == 0
        job = capsys.readouterr().out.split()[-1]
        assert main(["wait", job, "--for", "0.5s"]) == 4
        space[0] = DiskSpace(100 << 30, 50 << 30, 50 << 30, 0, 0)
        assert main(["wait", job, "--for", "60s"]) == 0
