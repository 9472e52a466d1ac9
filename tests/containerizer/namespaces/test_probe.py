from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.containerizer.namespaces import call_filter, namespaces
from broker_mesos.containerizer.namespaces.probe import probe
from tests.containerizer.cgroups.conftest import was_not_run

ASK = "from broker_mesos.containerizer.namespaces.probe import probe; print(*probe('/'), sep='|')"


def test_a_probe_says_what_tasks_can_have_of_their_own_and_leaves_nothing(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    found = probe(str(tmp_path))
    if "fs" in found.missing:
        was_not_run(found.missing["fs"])
    assert {"fs", "pid", "ipc"} <= set(found.words)
    assert os.listdir(tmp_path) == [] and Path("/proc/self/mountinfo").read_text() == mounts


def test_a_probe_that_fails_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(flags: int) -> None:
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(namespaces.kernel, "unshare", refuse)
    found = probe(str(tmp_path))
    assert "fs" not in found.words and "\n" not in found.missing["fs"]
    assert found.missing["fs"].startswith("unshare: Operation not permitted: this host restricts namespaces")


def test_without_the_filter_of_system_calls_tasks_are_not_sandboxed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_filter, "_LIBRARY", "libseccomp.so.none")
    call_filter.program.cache_clear()
    found = probe(str(tmp_path))
    assert {"fs", "pid", "ipc", "net", "rootfs"}.isdisjoint(found.words)
    assert found.missing["fs"] == "libseccomp is not installed: apt install libseccomp2"


def test_a_probe_of_another_user_is_made_in_a_user_namespace() -> None:
    if os.geteuid():
        pytest.skip("WAS NOT RUN: only root can become another user")
    root = Path(__file__).parents[3]
    # The user may not enter the folders that this interpreter and the package are in.
    code = f"import sys, os; sys.path.insert(0, {str(root)!r}); import broker_mesos.containerizer.namespaces.probe\n"
    code += f"os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n{ASK}"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stderr
    words, missing = made.stdout.strip().split("|")
    assert "'fs'" in words or "this host restricts namespaces" in missing or "Linux 5.12" in missing
