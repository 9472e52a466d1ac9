from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.containerizer.process.spawner_isolation import SpawnerIsolation
from broker_mesos.containerizer.task_views import TaskViews, check_host_paths
from broker_mesos.core.model.host_path import HostPath, parse_host_path
from broker_mesos.errors import InvalidInput, Unavailable
from broker_mesos.ports.containerizer import Isolation, LaunchSpec
from broker_mesos.runtime.settings import load
from broker_mesos.wiring.agent import own_files, task_views

FOLDER = Path("/var/lib/agent")
PLAIN = LaunchSpec("a", ("true",), False, {}, 1.0, ports=((31000, 31001),), volumes=(("data", "v1"),))
SANDBOXED = LaunchSpec("a", ("true",), False, {}, 1.0, level="sandboxed", volumes=(("data", "v1"),))


def test_a_task_that_demands_a_sandbox_gets_its_volumes_and_the_paths_of_the_settings() -> None:
    views = TaskViews(FOLDER, host_paths=(HostPath("/data", "/data", "rw"),), hidden=("/etc/secret",))
    assert views.demands(PLAIN, "") == {}
    volume = "/var/lib/agent/volumes/v1"
    assert views.demands(SANDBOXED, "/r") == {
        "sandbox": {
            "network": "host",
            "rootfs": "/r",
            "mounts": [["/data", "/data", "rw"], [volume, volume, "rw"]],
            "hidden": ["/var/lib/agent", "/etc/secret"],
        },
        "ports": [],
    }


@pytest.mark.parametrize(
    ("enforce", "always", "held"), [(None, False, False), (None, True, True), (True, False, True), (False, True, False)]
)
def test_ports_are_held_as_the_settings_say(enforce: bool | None, always: bool, held: bool) -> None:
    views = TaskViews(FOLDER, always=always, enforce_ports=enforce)
    assert views.demands(PLAIN, "").get("ports") == ([[31000, 31001]] if held else None)


def test_an_agent_has_no_word_for_what_its_settings_forbid_and_says_why() -> None:
    found = Isolation(("mem", "fs", "ports", "rootfs"))
    allowed = TaskViews(FOLDER, enforce_ports=False).allowed(found)
    assert allowed.words == ("mem", "fs")
    assert allowed.missing == {
        "ports": "enforce_ports is false in its settings",
        "rootfs": "its rootfs_roots is empty",
    }
    assert TaskViews(FOLDER, rootfs_roots=("/srv",)).allowed(found) == found


async def test_an_agent_that_cannot_sandbox_does_not_start_with_that_setting_and_says_why_in_one_line() -> None:
    for words, reason, missing, text in (
        (("mem",), "", {"fs": "unshare: not permitted"}, "unshare: not permitted; or set isolation to limits, auto or"),
        ((), "no cgroups are mounted", {}, "no cgroups are mounted; or set isolation to auto or none"),
        (("mem",), "", {}, "is of an earlier release"),
    ):
        made = SpawnerIsolation("sandboxed", 1.0, 0)
        made.on_answer(["isolation", list(words), reason, missing])
        with pytest.raises(Unavailable, match="isolation=sandboxed is not possible here") as found:
            await made.answered()
        assert text in str(found.value) and "\n" not in str(found.value)
    made = SpawnerIsolation("sandboxed", 1.0, 0)
    made.on_answer(["isolation", ["mem", "fs", "pid"], "", {}])
    await made.answered()


def test_a_path_of_the_machine_has_a_target_and_a_mode() -> None:
    assert parse_host_path("/data") == ("/data", "/data", "ro")
    assert parse_host_path("/data:rw") == ("/data", "/data", "rw")
    assert parse_host_path("/data:/x:ro") == ("/data", "/x", "ro")
    for wrong in ("data", "/data:x", "/a:/b:/c", "/a/../b", "", "rw", "/a:/b:rw:ro"):
        with pytest.raises(ValueError, match="write PATH"):
            parse_host_path(wrong)


def test_settings_with_wrong_paths_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for flags in ({"host_paths": "/data:w"}, {"rootfs_roots": "images"}, {"isolation": "strong"}):
        with pytest.raises(InvalidInput) as found:
            load(**flags)
        assert "\n" not in str(found.value)
    settings = load(host_paths=f"{tmp_path}:/data:rw", isolation="sandboxed", rootfs_roots="/srv /data")
    views = task_views(settings, tmp_path / "work")
    assert views.always and views.host_paths == ((str(tmp_path), "/data", "rw"),)
    assert views.rootfs_roots == ("/srv", "/data")


def test_a_path_that_is_not_there_or_would_replace_what_tasks_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no /nowhere on this machine"):
        check_host_paths([HostPath("/nowhere", "/x", "ro")], FOLDER)
    for target in ("/", "/proc/x", "/tmp", str(FOLDER / "meta")):
        with pytest.raises(InvalidInput, match="of their own: give "):
            check_host_paths([HostPath(str(tmp_path), target, "ro")], FOLDER)
    check_host_paths([HostPath(str(tmp_path), "/tmpfiles", "ro")], FOLDER)


def test_the_files_with_secrets_of_an_agent_are_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "url").write_text("amqp://u:p@localhost/")
    monkeypatch.setenv("BMESOS_BROKER_URL_FILE", str(tmp_path / "url"))
    assert {str(tmp_path / "url"), str(tmp_path / "bmesos.toml")} <= set(own_files(load()))
