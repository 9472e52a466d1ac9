"""Commands that start daemons; each blocks until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from broker_mesos.cli.connection import ConnectionOptions
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call, Cluster
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import FRAMEWORKS, framework_named

if TYPE_CHECKING:
    from broker_mesos.runtime.settings import Settings
    from broker_mesos.runtime.tls import ServerFiles

BrokerUrl = Annotated[
    str | None,
    Option("--broker-url", metavar="URL", help="RabbitMQ, as amqp://host; with a password: BMESOS_BROKER_URL_FILE."),
]
StoreUrl = Annotated[
    str | None,
    Option("--store-url", metavar="URL", help="Redis, as redis://host; with a password: BMESOS_STORE_URL_FILE."),
]
LogLevel = Annotated[str | None, Option("--log-level", metavar="LEVEL", help="debug, info, warning or error (info).")]
LogFormat = Annotated[str | None, Option("--log-format", metavar="FORMAT", help="text or json (text).")]
ResourcesText = Annotated[
    str | None,
    Option("--resources", metavar="TEXT", help="Resources to lend, as 'cpus:8;mem:8192'; others have a default."),
]
EnrollUrl = Annotated[
    str | None,
    Option(
        "--enroll-url",
        metavar="URL",
        help="Get a user on the broker from the enrolment server here, with the token of BMESOS_JOIN_TOKEN_FILE.",
    ),
]
Certificate = Annotated[
    str | None,
    Option("--cert", metavar="FILE", help="Serve HTTPS with this certificate, in PEM form; SIGHUP reads it again."),
]
Key = Annotated[str | None, Option("--key", metavar="FILE", help="Its private key, unless it is in the same file.")]
Host = Annotated[
    str, Option("--host", metavar="ADDRESS", help="The address to listen on; one of other machines needs --cert.")
]
Port = Annotated[
    int, Option("--port", metavar="PORT", min=0, max=65535, help="Port of the HTTP API; 0 takes a free one.")
]


def local(
    call: Call,
    agents: Annotated[int, Option("--agents", metavar="N", min=1, max=1000, help="Number of agents.")] = 1,
    resources: ResourcesText = None,
    port: Port = 5050,
    work_dir: Annotated[
        Path | None, Option("--work-dir", metavar="DIR", help="Folder for sandboxes (a temporary one).")
    ] = None,
    data: Annotated[
        Path | None, Option("--data", metavar="DIR", help="Folder in which jobs are kept; without it none is.")
    ] = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> int:
    """Run a whole cluster in one process.

    It needs no servers: for trying things out, and for the work of one machine.
    With --data DIR its jobs are kept, even after a kill or a loss of power: tasks run on when the cluster ends, and
    the next start with the same folder finds them. Without --data nothing is kept, and tasks end with the cluster.
    """
    settings = daemon_settings(call, cluster=cluster, log_level=log_level, log_format=log_format)
    from broker_mesos.core.model.resources import Resources

    Resources.parse(resources or "")
    from broker_mesos.wiring.local import run_local

    return run_local(settings, agents, resources or "", port, work_dir=work_dir, data=data)


def master(
    call: Call,
    cells: Annotated[
        int | None,
        Option("--cells", metavar="N", min=1, max=1024, help="Number of cells of a new cluster (4), for good."),
    ] = None,
    weights: Annotated[
        str | None,
        Option("--weights", metavar="TEXT", help="Weights of roles, as 'prod:2;dev:1'."),
    ] = None,
    broker_url: BrokerUrl = None,
    store_url: StoreUrl = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    **connection: Unpack[ConnectionOptions],
) -> int:
    """Run a master.

    Any number of them share the cells, and take over from each other.
    """
    settings = daemon_settings(
        call,
        cells=cells,
        weights=weights,
        broker_url=broker_url,
        store_url=store_url,
        cluster=cluster,
        log_level=log_level,
        log_format=log_format,
        **connection,
    )
    settings.need_broker()
    settings.need_store()
    from broker_mesos.wiring.master import run_master

    return run_master(settings)


def agent(
    call: Call,
    work_dir: Annotated[
        Path | None,
        Option("--work-dir", metavar="DIR", help="Folder for its id and sandboxes (./bmesos-agent)."),
    ] = None,
    resources: ResourcesText = None,
    attributes: Annotated[
        str | None,
        Option("--attributes", metavar="TEXT", help="Attributes for constraints, as 'rack:r1'."),
    ] = None,
    reserve: Annotated[
        list[str] | None,
        Option(
            "--reserve", metavar="ROLE=TEXT", help="Reserve a part for a role, as 'eng=cpus:2;mem:1024'; repeatable."
        ),
    ] = None,
    oversubscribe: Annotated[
        bool | None,
        Option(
            "--oversubscribe/--no-oversubscribe",
            help="Lend what tasks have and do not use a second time, to tasks that can be evicted (no).",
            show_default=False,
        ),
    ] = None,
    task_user: Annotated[
        str | None,
        Option(
            "--task-user",
            metavar="NAME",
            help="User of tasks that ask for none (bmesos-task with security=on; else the agent's own).",
        ),
    ] = None,
    task_users: Annotated[
        str | None, Option("--task-users", metavar="NAMES", help="Users that tasks may ask for, as 'eng ops'.")
    ] = None,
    same_user: Annotated[
        bool | None,
        Option(
            "--same-user/--no-same-user",
            help="With security=on: run tasks as the agent's user, whose files they can read (no).",
            show_default=False,
        ),
    ] = None,
    allow_root: Annotated[
        bool | None,
        Option("--allow-root/--no-allow-root", help="Run tasks as root, if it is named (no).", show_default=False),
    ] = None,
    isolation: Annotated[
        str | None,
        Option(
            "--isolation",
            metavar="LEVEL",
            help="Hold tasks to limits by cgroups: limits, auto, none; or sandboxed: to own files as well (none).",
        ),
    ] = None,
    host_paths: Annotated[
        str | None,
        Option(
            "--host-paths", metavar="PATHS", help="What sandboxed tasks see besides /usr, /etc, /opt, as '/data:rw'."
        ),
    ] = None,
    rootfs_roots: Annotated[
        str | None,
        Option("--rootfs-roots", metavar="PATHS", help="Folders that tasks may take root file systems from (none)."),
    ] = None,
    container_engine: Annotated[
        str | None,
        Option(
            "--container-engine", metavar="SOCKET", help="Engine of tasks with an image: its socket, or none (auto)."
        ),
    ] = None,
    enforce_ports: Annotated[
        bool | None,
        Option(
            "--enforce-ports/--no-enforce-ports",
            help="Let tasks listen only on TCP ports that they hold (those that are sandboxed).",
            show_default=False,
        ),
    ] = None,
    enroll_url: EnrollUrl = None,
    broker_url: BrokerUrl = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    **connection: Unpack[ConnectionOptions],
) -> int:
    """Run an agent, which lends resources and runs tasks.

    Resources that are not given are those of this machine: CPUs, memory, disk and ports.
    With --enroll-url a new agent gets its user on the broker from an enrolment server, and keeps it in its work folder.
    """
    settings = daemon_settings(
        call,
        oversubscribe=oversubscribe,
        task_user=task_user,
        task_users=task_users,
        same_user=same_user,
        allow_root=allow_root,
        isolation=isolation,
        host_paths=host_paths,
        rootfs_roots=rootfs_roots,
        container_engine=container_engine,
        enforce_ports=enforce_ports,
        enroll_url=enroll_url,
        broker_url=broker_url,
        cluster=cluster,
        log_level=log_level,
        log_format=log_format,
        **connection,
        reserve=reserve or None,
    )
    settings.need_broker()
    from broker_mesos.core.model.attributes import parse_attributes
    from broker_mesos.core.model.resources import Resources

    Resources.parse(resources or "")
    described = parse_attributes(attributes or "")
    from broker_mesos.wiring.agent import run_agent

    return run_agent(settings, work_dir or Path("bmesos-agent"), resources or "", described)


def framework(
    call: Call,
    name: Annotated[str, Argument(metavar="NAME", help=f"Which one: {', '.join(FRAMEWORKS)}.")],
    broker_url: BrokerUrl = None,
    store_url: StoreUrl = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    **connection: Unpack[ConnectionOptions],
) -> int:
    """Run a built-in framework.

    `batch` runs the jobs of `bmesos submit`; any number of processes share the work.
    """
    framework = framework_named(name)
    settings = daemon_settings(
        call,
        broker_url=broker_url,
        store_url=store_url,
        cluster=cluster,
        log_level=log_level,
        log_format=log_format,
        **connection,
    )
    settings.need_broker()
    settings.need_store()
    from broker_mesos.wiring.framework import run_framework

    return run_framework(framework, settings)


def web(
    call: Call,
    host: Host = "127.0.0.1",
    port: Port = 5050,
    cert: Certificate = None,
    key: Key = None,
    broker_url: BrokerUrl = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    **connection: Unpack[ConnectionOptions],
) -> int:
    """Serve the operator API over HTTP or, with --cert, HTTPS.

    With a policy (setting policy) each request needs a token; without one whoever reaches its address may do
    everything.
    """
    settings = daemon_settings(
        call, broker_url=broker_url, cluster=cluster, log_level=log_level, log_format=log_format, **connection
    )
    settings.need_broker()
    address, files = _served_at(settings, host, cert, key)
    from broker_mesos.wiring.web import run_web

    return run_web(settings, address, port, files)


def enroll_server(
    call: Call,
    host: Host = "127.0.0.1",
    port: Port = 5055,
    cert: Certificate = None,
    key: Key = None,
    management_url: Annotated[
        str | None,
        Option("--management-url", metavar="URL", help="RabbitMQ's management API (on the broker's host, port 15671)."),
    ] = None,
    broker_url: BrokerUrl = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    **connection: Unpack[ConnectionOptions],
) -> int:
    """Give new agents users of their own on RabbitMQ.

    An agent that shows a join token (`bmesos token create --join`) gets a user with the rights of an agent. The users
    of agents that are marked as gone are deleted. It needs security=on, the user `enroll` in the URL of the broker, and
    a policy file with the join tokens, which it reads again on SIGHUP. Run one of them.
    """
    settings = daemon_settings(
        call,
        management_url=management_url,
        broker_url=broker_url,
        cluster=cluster,
        log_level=log_level,
        log_format=log_format,
        **connection,
    )
    settings.need_management()
    address, files = _served_at(settings, host, cert, key)
    from broker_mesos.wiring.enroll import run_enroll_server

    return run_enroll_server(settings, address, port, files)


def _served_at(settings: Settings, host: str, cert: str | None, key: str | None) -> tuple[str, ServerFiles | None]:
    """The address to listen on, and the files for HTTPS. Raises InvalidInput before anything is waited for."""
    if key is not None and cert is None:
        raise InvalidInput("--key without --cert: give the file of the certificate as well")
    from broker_mesos.web.address import checked_host

    address = checked_host(host, encrypted=cert is not None, insecure=settings.insecure_plaintext)
    from broker_mesos.runtime.tls import ServerFiles, server_context

    files = None if cert is None else ServerFiles(cert, key or "")
    if files is not None:
        server_context(files)
    return address, files


def daemon_settings(call: Call, **flags: Any) -> Settings:
    """What a daemon's flags and the options before its name come to."""
    from broker_mesos.runtime.logs import choose_error_format
    from broker_mesos.runtime.settings import load

    # Even the settings may be wrong, and whoever collects the log in JSON is to see why.
    choose_error_format(flags.get("log_format") or os.environ.get("BMESOS_LOG_FORMAT"))
    if flags.get("cluster") is None:
        flags["cluster"] = call.cluster
    settings = load(**flags)
    choose_error_format(settings.log_format)
    return settings
