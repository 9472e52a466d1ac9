from __future__ import annotations

import pytest

from broker_mesos.containerizer.namespaces.steps import Bind, Cover, Folder, Link, Memory, Seal, Step, steps
from broker_mesos.containerizer.namespaces.view import Mount, View, ports_of, view_from, view_of

SANDBOX = "/var/lib/agent/sandboxes/a"
MACHINE = {
    "/usr": "folder",
    "/etc": "folder",
    "/bin": "link usr/bin",
    "/lib64": "folder",
    "/dev/null": "file",
    "/data": "folder",
    "/data/settings": "file",
    "/data/agent": "folder",
    "/proc/sys": "folder",
    SANDBOX: "folder",
}


class FakeMachine:
    def __init__(self, **more: str) -> None:
        self._found = {**MACHINE, **{name.replace("_", "/"): kind for name, kind in more.items()}}

    def kind(self, path: str) -> str:
        return self._found.get(path, "").partition(" ")[0]

    def target(self, path: str) -> str:
        return self._found[path].partition(" ")[2]

    def resolved(self, path: str) -> str:
        return self.target(path) if self.kind(path) == "link" else path if path in self._found else ""


def made(view: View, *, root: bool = False, **more: str) -> list[Step]:
    return steps(view, SANDBOX, FakeMachine(**more), root=root)


def binds(found: list[Step]) -> list[Bind]:
    return [step for step in found if isinstance(step, Bind) and not step.device]


def test_a_task_sees_the_programs_of_the_machine_read_only_and_its_sandbox_writable() -> None:
    found = made(View())
    assert [(each.target, each.writable) for each in binds(found)] == [
        ("/usr", False),
        ("/etc", False),
        ("/lib64", False),
        (SANDBOX, True),
    ]
    assert Link("/bin", "usr/bin") in found and found[-2:] == [Seal("/dev"), Seal("/")]


def test_a_task_with_a_root_file_system_sees_no_programs_of_the_machine() -> None:
    found = made(View(rootfs="/images/a"))
    assert [each.target for each in binds(found)] == [SANDBOX] and Link("/bin", "usr/bin") not in found


def test_a_mount_below_another_one_comes_after_it_and_the_later_one_of_two_with_one_target_holds() -> None:
    view = View(mounts=(Mount("/data", "/usr/share/data", True), Mount("/data", "/etc", False)))
    found = [each.target for each in binds(made(view))]
    assert found.index("/usr") < found.index("/usr/share/data") and found.count("/etc") == 1
    assert Bind("/data", "/etc") in made(view)


def test_what_is_hidden_is_covered_wherever_a_mount_shows_it_and_before_the_sandbox_is_mounted() -> None:
    mounts = (Mount("/data", "/data", False), Mount("/data", "/copy", False))
    found = made(View(mounts=mounts, hidden=("/data/settings", "/data/agent", "/nowhere")))
    for folder in ("/data", "/copy"):
        assert Bind("/dev/null", f"{folder}/settings", device=True, folder=False) in found
        cover = Memory(f"{folder}/agent", "mode=711,size=64k")
        assert found.index(cover) < found.index(Bind(SANDBOX, SANDBOX, writable=True))


def test_a_mount_in_the_sandbox_is_mounted_over_it() -> None:
    found = binds(made(View(mounts=(Mount("/data", f"{SANDBOX}/volume", True),))))
    assert [each.target for each in found[-2:]] == [SANDBOX, f"{SANDBOX}/volume"]


def test_the_list_of_name_servers_is_there_although_it_is_a_link_out_of_etc() -> None:
    more = {"_etc_resolv.conf": "link /run/resolver", "_run_resolver": "file"}
    found = made(View(), **more)
    assert Bind("/run/resolver", "/run/resolver", folder=False) in found and Folder("/run") in found
    assert "/run/resolver" not in [each.target for each in binds(made(View(network="none"), **more))]
    assert Bind("/run/resolver", "/etc/resolv.conf", folder=False) in made(View(rootfs="/images/a"), **more)


def test_what_root_could_write_without_capabilities_is_covered_for_root_alone() -> None:
    assert Cover("/proc/sys") in made(View(), root=True) and Cover("/proc/sys") not in made(View())


def test_a_source_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        made(View(mounts=(Mount("/nowhere", "/x", False),)))


def test_a_view_is_the_same_after_it_was_json() -> None:
    view = View("none", "/r", (Mount("/a", "/b", True),), ("/c",), 5, ("/dev/x",))
    assert view_from([*view[:2], [["/a", "/b", True]], ["/c"], 5, ["/dev/x"]]) == view
    assert view_from([*view[:2], [["/a", "/b", True]], ["/c"], 5]) == view._replace(devices=())


def test_a_view_is_read_from_the_limits_of_a_request() -> None:
    assert view_of({}) is None and view_of({"sandbox": {}}) == View()
    held = {"memory": 7, "sandbox": {"network": "none", "rootfs": "/r//x/", "mounts": [["/a", "/b", "rw"]]}}
    assert view_of(held) == View("none", "/r/x", (Mount("/a", "/b", True),), (), 7)


@pytest.mark.parametrize(
    "sandbox",
    [
        {"network": "bridge"},
        {"rootfs": "relative"},
        {"mounts": [["/a/../b", "/c", "ro"]]},
        {"mounts": [["/a", "/c", "r"]]},
        {"mounts": [["/a", "/c"]]},
        {"mounts": [["/a", "/b", "ro"]] * 300},
        {"hidden": ["x"]},
        {"hidden": ["/x\0"]},
    ],
)
def test_a_view_that_is_none_is_refused(sandbox: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        view_of({"sandbox": sandbox})


def test_ports_are_ranges_and_those_of_a_network_of_its_own_are_not_held() -> None:
    assert ports_of({}) is None and ports_of({"ports": [[1, 2]]}) == ((1, 2),)
    assert ports_of({"ports": [[1, 2]], "sandbox": {"network": "none"}}) is None
    for wrong in ([[2, 1]], [[0, 1]], [[1, 65536]], [[1]]):
        with pytest.raises(ValueError):
            ports_of({"ports": wrong})
