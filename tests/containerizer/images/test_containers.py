"""Tasks in containers of a real engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker_mesos.containerizer.gpu_devices import Gpu, GpuDevices
from broker_mesos.containerizer.images import record
from broker_mesos.containerizer.images.engine import connect
from broker_mesos.containerizer.images.image_tasks import ImageSettings
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.ports.containerizer import LaunchSpec, Retention, StartFailed, TaskExited
from broker_mesos.ports.execution import ExecRefused, ExecSpec
from tests.containerizer.conftest import Runner
from tests.containerizer.images.engine import containers, drop_image, find_engine, make_image
from tests.containerizer.images.registry import PASSWORD, Registry, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> str:
    return find_engine()


@pytest.fixture(scope="module")
def image(engine: str) -> str:
    return make_image(engine)


class ImageRunner(Runner):
    """A containerizer with an engine."""

    def __init__(self, work_dir: Path, engine: str, image: str, **more: object) -> None:
        super().__init__(work_dir)
        self.engine = engine
        self.image = image
        settings = more.pop("settings", ImageSettings(engine, pull_timeout=30.0))
        self.containerizer = ProcessContainerizer(work_dir, self._on_events, images=settings, **more)  # type: ignore[arg-type]

    def run(self, task_id: str, *argv: str, **more: object) -> None:
        fields = {"image": self.image, "kill_grace": 5.0, "env": {}, "shell": len(argv) == 1, **more}
        self.containerizer.launch(LaunchSpec(task_id, argv, **fields))  # type: ignore[arg-type]

    async def end(self, task_id: str) -> TaskExited:
        found = await self.outcome(task_id)
        assert isinstance(found, TaskExited), found
        assert containers(self.engine, task_id) == []
        return found

    def text(self, task_id: str, name: str = "stdout") -> str:
        return self.file(task_id, name).read_text()


@pytest_asyncio.fixture
async def images(work_dir: Path, engine: str, image: str) -> AsyncIterator[ImageRunner]:
    work_dir.chmod(0o711)
    runner = ImageRunner(work_dir, engine, image)
    assert await runner.containerizer.start() == []
    yield runner
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_task_runs_in_a_container_of_its_image_with_its_files_in_its_sandbox(images: ImageRunner) -> None:
    assert "images" in images.containerizer.isolation.words
    images.run(
        "a",
        "pwd; cat; ls /; echo $X $BMESOS_TASK_ID; echo oops >&2; echo made > f; exit 7",
        stdin=b"in\n",
        env={"X": "1"},
    )
    end = await images.end("a")
    assert (end.exit_code, end.signal, end.limit) == (7, None, "")
    lines = images.text("a").splitlines()
    assert lines[:2] == [str(images.file("a", "stdout").parent), "in"] and lines[-1] == "1 a"
    assert "bin" in lines and "home" not in lines
    assert images.text("a", "stderr") == "oops\n" and images.text("a", "f") == "made\n"


async def test_an_image_without_the_program_says_so_in_the_output(images: ImageRunner) -> None:
    images.run("a", "/no/such", "program")
    assert (await images.end("a")).exit_code == 127
    assert "/no/such: not found" in images.text("a", "stderr")


async def test_a_kill_gives_the_program_its_grace_and_leaves_no_container(images: ImageRunner) -> None:
    images.run("a", "trap 'echo bye; exit 3' TERM; echo on; while true; do sleep 0.1; done")
    await images.lines("a", 1)
    images.containerizer.kill("a", 60.0)
    assert (await images.end("a")).exit_code == 3
    assert images.text("a") == "on\nbye\n"
    images.run("b", "trap 'echo no' TERM; echo on; while true; do sleep 0.1; done")
    await images.lines("b", 1)
    images.containerizer.kill("b", 60.0)
    await images.lines("b", 2)
    images.containerizer.kill("b", 0.0)
    assert (await images.end("b")).exit_code == 128 + signal.SIGKILL


async def test_a_program_that_uses_more_memory_than_its_limit_has_ended_for_that(images: ImageRunner) -> None:
    images.run("a", "tail /dev/zero", memory=32 << 20)
    end = await images.end("a")
    assert end.limit_kind == "memory" and end.limit.startswith("used more than its mem:32 MB on ")
    images.run("b", "tail /dev/zero; exit 0", memory=32 << 20, oom="ignore")
    end = await images.end("b")
    assert (end.exit_code, end.limit) == (0, "")


async def test_its_limits_are_those_of_the_container(images: ImageRunner) -> None:
    images.run(
        "a",
        "cat /proc/self/limits; id; cat /proc/self/status; ls /sys/class/net",
        pids=50,
        rlimits=(("nofile", 123),),
        network="none",
        cpus=0.5,
        cpu_limit=1.0,
    )
    assert (await images.end("a")).exit_code == 0
    text = images.text("a")
    assert "NoNewPrivs:\t1" in text and text.splitlines()[-1] == "lo"
    assert any(line.split()[:5] == ["Max", "open", "files", "123", "123"] for line in text.splitlines())
    images.run("b", "i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i+1)); done", pids=12)
    assert (await images.end("b")).exit_code == 2
    assert "annot fork" in images.text("b", "stderr")


async def test_commands_are_not_run_in_containers_and_the_refusal_says_what_to_do(images: ImageRunner) -> None:
    images.run("a", "echo on; sleep 600")
    await images.lines("a", 1)
    with pytest.raises(ExecRefused, match="docker exec bmesos-a"):
        await images.containerizer.execute(ExecSpec("a", "e", ("true",)), lambda: None)
    images.containerizer.kill("a", 0.0)
    await images.end("a")


async def test_an_image_that_cannot_be_pulled_fails_the_task_in_words(images: ImageRunner) -> None:
    images.run("a", "true", image="127.0.0.1:1/no:such")
    failed = await images.outcome("a")
    assert isinstance(failed, StartFailed) and (failed.kind, failed.machine) == ("image", False)
    assert failed.message.startswith("image 127.0.0.1:1/no:such: ") and "refused" in failed.message


async def test_a_container_outlives_its_agent_and_the_spawner_and_ends_once(
    images: ImageRunner, work_dir: Path, engine: str, image: str
) -> None:
    images.run("a", "echo on; until [ -e go ]; do sleep 0.05; done; exit 9")
    await images.lines("a", 1)
    await images.containerizer.stop(kill_tasks=False)
    os.kill(images.containerizer.spawner_pid, signal.SIGKILL)
    second = ImageRunner(work_dir, engine, image)
    (found,) = await second.containerizer.start()
    assert (found.task_id, found.running) == ("a", True) and len(containers(engine, "a")) == 1
    second.file("a", "go").touch()
    assert (await second.end("a")).exit_code == 9
    await second.containerizer.stop(kill_tasks=False)
    third = ImageRunner(work_dir, engine, image)
    (found,) = await third.containerizer.start()
    assert found.exited is not None and found.exited.exit_code == 9
    third.containerizer.forget("a")
    assert not (work_dir / "containers" / "a").exists()
    await third.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_container_whose_process_was_killed_is_gone_when_its_end_is_told(images: ImageRunner) -> None:
    images.run("a", "echo on; sleep 600")
    await images.lines("a", 1)
    os.kill((await images.started("a")).pid, signal.SIGKILL)
    assert (await images.end("a")).signal == signal.SIGKILL


async def test_containers_of_tasks_that_nobody_knows_are_removed_when_the_agent_starts(
    images: ImageRunner, work_dir: Path, engine: str, image: str
) -> None:
    images.run("a", "echo on; sleep 600")
    await images.lines("a", 1)
    await images.containerizer.stop(kill_tasks=False)
    os.kill(images.containerizer.spawner_pid, signal.SIGKILL)
    os.kill((await images.started("a")).pid, signal.SIGKILL)
    (work_dir / "meta" / "tasks.journal").unlink()
    assert len(containers(engine, "a")) == 1
    second = ImageRunner(work_dir, engine, image)
    assert await second.containerizer.start() == []
    assert containers(engine, "a") == []
    await second.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_task_runs_as_the_user_of_tasks_without_capabilities(work_dir: Path, engine: str, image: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("WAS NOT RUN: it needs root")
    from broker_mesos.containerizer.task_users import find_task_users

    users = find_task_users("nobody", (), allow_root=False)
    for folder in (work_dir, *work_dir.parents):
        if folder.stat().st_mode & 0o11 != 0o11:
            folder.chmod(folder.stat().st_mode | 0o11)
    users.open_folder(work_dir)
    runner = ImageRunner(work_dir, engine, image, users=users)
    await runner.containerizer.start()
    runner.run("a", "id -u; cat /proc/self/status")
    assert (await runner.end("a")).exit_code == 0
    text = runner.text("a")
    assert text.startswith(f"{users.default.ids.uid}\n") and "CapEff:\t0000000000000000" in text
    assert runner.file("a", "stdout").stat().st_uid == users.default.ids.uid
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_an_image_is_pulled_once_for_all_who_need_it_and_not_again(images: ImageRunner, engine: str) -> None:
    with serving(Registry()) as registry:
        registry.open.clear()
        for name in ("a", "b", "c"):
            images.run(name, "echo $FROM", image=registry.image)
        await asyncio.to_thread(registry.asked.wait, 90)
        images.containerizer.kill("b", 5.0)
        killed = await images.outcome("b")
        assert isinstance(killed, StartFailed) and killed.message == "killed before it was started"
        registry.open.set()
        assert [(await images.end(name)).exit_code for name in ("a", "c")] == [0, 0]
        assert images.text("a") == images.text("c") == "registry\n"
        images.run("d", "true", image=registry.image)
        assert (await images.end("d")).exit_code == 0
        assert registry.layers == 1
        drop_image(engine, registry.image)


async def test_a_pull_that_takes_too_long_fails_the_task_and_names_the_setting(work_dir: Path, engine: str) -> None:
    with serving(Registry()) as registry:
        registry.open.clear()
        runner = ImageRunner(work_dir, engine, registry.image, settings=ImageSettings(engine, pull_timeout=0.5))
        await runner.containerizer.start()
        runner.run("a", "true")
        failed = await runner.outcome("a")
        text = f"image {registry.image}: not pulled within 0.5 s (the agent's setting pull_timeout)"
        assert failed == StartFailed("a", text, kind="image")
        await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_registry_gets_the_credentials_of_the_setting_and_nobody_sees_them(work_dir: Path, engine: str) -> None:
    with serving(Registry(secret=True)) as registry:
        wrong = registry.auth.replace(str(registry.port), "1")
        for auth, fails in ((wrong, True), (registry.auth, False)):
            runner = ImageRunner(work_dir, engine, registry.image, settings=ImageSettings(engine, auth, 30.0))
            await runner.containerizer.start()
            runner.run(f"t{fails}", "echo $FROM")
            end = await runner.outcome(f"t{fails}")
            if fails:
                assert isinstance(end, StartFailed) and end.kind == "image"
                assert end.message.startswith(f"image {registry.image}: ") and PASSWORD not in end.message
            else:
                assert runner.text("tFalse") == "registry\n"
            await runner.containerizer.stop(kill_tasks=True, grace=0.0)
        assert not any(PASSWORD in each.read_text(errors="replace") for each in work_dir.rglob("*") if each.is_file())
        drop_image(engine, registry.image)


async def test_a_container_that_its_process_could_not_remove_is_removed_later(images: ImageRunner, engine: str) -> None:
    images.run("a", "echo on; until [ -e go ]; do sleep 0.05; done")
    await images.lines("a", 1)
    client = connect(engine)
    config = json.loads((images.work_dir / "containers" / "a" / record.REQUEST).read_text())["config"]
    config["Labels"] = {**config["Labels"], "broker-mesos.task": "x"}
    client.create_container_from_config(config, "bmesos-x")
    record.write(str(images.work_dir / "containers" / "a"), record.LEFT, True)
    images.file("a", "go").touch()
    await images.end("a")
    assert len(containers(engine, "x")) == 1
    images.containerizer._images._sweep_at = 0.0
    await images.containerizer.collect(Retention(), 0.0, ())
    assert containers(engine, "x") == []
    client.close()


async def test_a_container_has_the_gpus_of_its_task_and_no_others(work_dir: Path, engine: str, image: str) -> None:
    gpus = GpuDevices((Gpu("GPU-1", "/dev/full"), Gpu("GPU-2", "/dev/kmsg")))
    runner = ImageRunner(work_dir, engine, image, gpus=gpus)
    await runner.containerizer.start()
    runner.run("a", "echo $CUDA_VISIBLE_DEVICES; ls /dev", gpus=1)
    runner.run("b", "echo $NVIDIA_VISIBLE_DEVICES; ls /dev")
    await runner.end("a")
    await runner.end("b")
    assert runner.text("a").startswith("GPU-1\n") and "kmsg" not in runner.text("a")
    assert runner.text("b").startswith("void\n") and "kmsg" not in runner.text("b")
    runner.run("c", "echo $CUDA_VISIBLE_DEVICES; ls /dev", gpus=2)
    await runner.end("c")
    assert runner.text("c").startswith("GPU-1,GPU-2\n") and "kmsg" in runner.text("c")
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_without_an_engine_the_agent_says_why(tmp_path: Path) -> None:
    missing = str(tmp_path / "no.sock")
    runner = Runner(tmp_path)
    runner.containerizer = ProcessContainerizer(tmp_path, lambda _: None, images=ImageSettings(missing))
    await runner.containerizer.start()
    found = runner.containerizer.isolation
    assert found.words == () and missing in found.missing["images"]
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)
