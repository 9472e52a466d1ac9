"""Builds and runs an agent on RabbitMQ."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr

from broker_mesos import __version__
from broker_mesos.agent import probe
from broker_mesos.agent.checkpoint import FileCheckpoint
from broker_mesos.agent.daemon import AgentDaemon
from broker_mesos.agent.enrolment import Enroller, UserFile
from broker_mesos.agent.options import AgentOptions
from broker_mesos.bus.open import CLOCK, daemon_bus
from broker_mesos.bus.rabbitmq.server import UserRefused
from broker_mesos.containerizer.credentials import drop_ambient_capabilities, hide
from broker_mesos.containerizer.gpu_devices import NO_GPUS, GpuDevices, find_gpus
from broker_mesos.containerizer.images.image_tasks import ImageSettings
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.process.output_limits import Limits
from broker_mesos.containerizer.task_users import DEFAULT_USER, TaskUsers, find_task_users
from broker_mesos.containerizer.task_views import TaskViews, check_host_paths
from broker_mesos.core.model.host_path import parse_host_path
from broker_mesos.core.model.reservation import static_reservations
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_user import SAME_USER, attribute_of
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.containerizer import Retention
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.process import Stop, run_process, serve
from broker_mesos.runtime.secrets import remember_token
from broker_mesos.runtime.settings import CONFIG_FILE, SECRETS, Settings
from broker_mesos.runtime.settings_sources import PREFIX
from broker_mesos.runtime.urls import with_user

log = get_logger(__name__)

MB = 1 << 20

# Tests simulate a reboot of the machine.
BOOT_ID = os.environ.get("BMESOS_BOOT_ID", "")


def build_agent(
    bus: Bus,
    work_dir: Path,
    resources: Resources,
    attributes: Mapping[str, str],
    agent_id: str = "",
    reserve: Mapping[str, str] = MappingProxyType({}),
    *,
    settings: Settings,
    users: TaskUsers | None = None,
    gpus: GpuDevices = NO_GPUS,
) -> AgentDaemon:
    """Build an agent that runs tasks as processes below its work folder; as one of ``users``, or with None as its own
    user. It gives the ``gpus`` to tasks that hold some."""
    work_dir = work_dir.absolute()
    if users is not None:
        attributes = {**attributes, **{attribute_of(name): "yes" for name in users.names}}
    elif settings.same_user and settings.security == "on":
        attributes = {**attributes, SAME_USER: "yes"}
    protect = users is not None or settings.security == "on"
    options = AgentOptions(
        resources=resources,
        hostname=probe.hostname(),
        attributes=attributes,
        reservations=static_reservations(reserve, resources),
        agent_id=agent_id,
        version=__version__,
        pid=os.getpid(),
        boot_id=BOOT_ID or probe.boot_id(),
        usage=lambda: probe.measure(work_dir),
        disk_space=lambda: probe.disk_space(work_dir),
        min_free_disk=settings.min_free_disk << 20,
        retention=Retention(settings.sandbox_keep, settings.max_sandboxes, settings.keep_failed),
        machine=probe.machine() if settings.oversubscribe else None,
        kill_grace=settings.kill_grace,
        outcomes_kept=settings.outcomes_kept,
        exec_enabled=settings.exec_enabled,
    )
    return AgentDaemon(
        bus,
        lambda on_events: ProcessContainerizer(
            work_dir,
            on_events,
            boot_id=BOOT_ID,
            limits=write_limits(settings),
            users=users,
            protect=protect,
            isolation=settings.isolation,
            lent=(resources.get("cpus") / 1000, resources.get("mem") * MB // 1000),
            views=task_views(settings, work_dir),
            images=image_settings(settings),
            gpus=gpus,
            new_id=new_id,
        ),
        FileCheckpoint(work_dir),
        CLOCK,
        new_id,
        random.Random(),
        options,
    )


def write_limits(settings: Settings) -> Limits:
    """The limits on what tasks may write."""
    return Limits(
        settings.max_output << 20,
        settings.min_free_disk << 20,
        max(settings.max_output, settings.max_task_output) << 20,
    )


def task_views(settings: Settings, work_dir: Path) -> TaskViews:
    """What sandboxed tasks see. Raises InvalidInput."""
    host_paths = tuple(map(parse_host_path, settings.host_paths))
    if settings.isolation != "none":
        check_host_paths(host_paths, work_dir.absolute())
    return TaskViews(
        work_dir.absolute(),
        always=settings.isolation == "sandboxed",
        host_paths=host_paths,
        hidden=own_files(settings),
        rootfs_roots=settings.rootfs_roots,
        enforce_ports=settings.enforce_ports,
    )


def lent_gpus(gpus: GpuDevices, resources: Resources) -> GpuDevices:
    """As many of the GPUs of a machine as its agent lends. Raises InvalidInput if it would lend more than there are."""
    lent = resources.get("gpus") // 1000
    if gpus.gpus and lent > len(gpus.gpus):
        raise InvalidInput(
            f"--resources: gpus:{lent}, and this machine has {len(gpus.gpus)}: lend as many, or name all in gpu_devices"
        )
    return gpus._replace(gpus=gpus.gpus[:lent])


def image_settings(settings: Settings) -> ImageSettings:
    """What an agent needs for tasks in containers."""
    auth = "" if settings.registry_auth is None else settings.registry_auth.get_secret_value()
    return ImageSettings(settings.container_engine, auth, settings.pull_timeout)


def own_files(settings: Settings) -> list[str]:
    """The files of this agent that are not for its tasks: its settings, and those with secrets."""
    secrets = (os.environ.get(f"{PREFIX}{name.upper()}_FILE") for name in SECRETS)
    named = (CONFIG_FILE, settings.policy, settings.tls_key, settings.tls_cert, *secrets)
    return sorted({os.path.abspath(each) for each in named if each})


def users_of(settings: Settings) -> TaskUsers | None:
    """The users that an agent runs tasks as; None for its own. Raises InvalidInput, in one line that says what to
    do."""
    named = settings.task_user is not None or bool(settings.task_users)
    if settings.same_user and named:
        raise InvalidInput("same_user runs tasks as the agent's own user: drop it, or task_user and task_users")
    if not named and (settings.same_user or settings.security == "off"):
        if settings.security == "on" and os.geteuid() == 0 and not settings.allow_root:
            raise InvalidInput(
                "this agent would run tasks as root: drop same_user, or start it as another user; or give --allow-root"
            )
        return None
    return find_task_users(
        settings.task_user or DEFAULT_USER,
        settings.task_users,
        allow_root=settings.allow_root,
        instead="--same-user" if settings.security == "on" else "no --task-user",
    )


def separate_tasks(settings: Settings, work_dir: Path) -> TaskUsers | None:
    """Keep tasks apart from this process, as far as its settings and rights allow it: returns the users that they run
    as. Raises InvalidInput."""
    users = users_of(settings)
    if users is not None:
        users.open_folder(work_dir.absolute())
    else:
        drop_ambient_capabilities()
    if users is not None or settings.security == "on":
        hide()
    return users


def run_agent(settings: Settings, work_dir: Path, resources: str, attributes: Mapping[str, str]) -> int:
    """Run ``bmesos agent``. Its tasks outlive it; the next agent in the same work folder finds them. ``resources``
    stays a text, since ``disk:0`` means to lend no disk, instead of the disk that is found."""

    async def main(stop: Stop) -> None:
        gpus = find_gpus(settings.gpu_devices)
        found = probe.find_resources(work_dir, resources, gpus=len(gpus.gpus))
        gpus = lent_gpus(gpus, found)
        if not found:
            raise InvalidInput("--resources: an agent that lends nothing is of no use; as in 'cpus:8;mem:8192'")
        static_reservations(settings.reserve, found)
        users = separate_tasks(settings, work_dir)
        async with contextlib.AsyncExitStack() as stack:
            if settings.enroll_url is None:
                bus = daemon_bus(settings, "agent")
                await bus.open(settings.connect_timeout)
            else:
                bus = await enrolled_bus(settings, work_dir)
            stack.push_async_callback(bus.close)
            agent = build_agent(
                bus,
                work_dir,
                found,
                attributes,
                bus.user if bus.verifies else "",
                reserve=settings.reserve,
                settings=settings,
                users=users,
                gpus=gpus,
            )
            await serve(agent.run(), stop, agent.stop, ready=agent.registered.wait, status=lambda: _status(agent))

    return run_process(settings, main)


async def enrolled_bus(settings: Settings, work_dir: Path) -> Bus:
    """The open bus of an agent that enrols itself. If the broker does not know its user (any more), it is enrolled
    once more: the broker may have been set up anew. Raises what the enrolment server answers with, and Unavailable."""
    url, broker_url = settings.need_enrolment(), settings.need_broker()
    token = "" if settings.join_token is None else settings.join_token.get_secret_value()
    enroller = Enroller(url, token, settings.tls_files(), __version__, CLOCK.sleep)
    file = UserFile(work_dir)
    user = await enroller.enrolled(file, new_id, settings.connect_timeout)
    for again in (True, False):
        remember_token(user.password)
        own = SecretStr(with_user(broker_url, user.name, user.password))
        bus = daemon_bus(settings.model_copy(update={"broker_url": own}), "agent")
        try:
            await bus.open(settings.connect_timeout)
            return bus
        except UserRefused as error:
            if not again:
                raise
            log.warning("the broker refuses the user of this agent, which is enrolled again", error=str(error))
            user = await enroller.enroll(file, user, settings.connect_timeout)
    raise AssertionError("unreachable")


def _status(agent: AgentDaemon) -> str:
    """One line about an agent for the service manager."""
    if not agent.registered.is_set():
        return "not registered: waiting for a master"
    return f"{agent.state.info.agent_id} is registered and runs {len(agent.state.tasks)} tasks"
