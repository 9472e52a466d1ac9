"""The staging cluster of docker-compose.yml, for the scripts beside this file: containers, health, operator.

Needs the command `docker` of a running engine, Compose (the plugin `docker compose`, or `docker-compose` 1.29), and
this package: `make` starts the scripts with .venv.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from broker_mesos import Client
from broker_mesos.core.api.agents import AgentView
from broker_mesos.errors import BrokerMesosError, Unavailable

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "bmesos"
PORTS = "5050-5051"
BASE_IMAGES = ("python:3.13-slim", "rabbitmq:4-management", "redis:8")
IMAGE = "broker-mesos:staging"
SERVERS = ("redis", "rabbitmq")
AGENTS = ("agent-r1", "agent-r2", "agent-r3", "agent")
"""The services that are agents; `agent` may have any number of containers, or none."""
DAEMONS = ("master", "batch", "enroll", "web", *AGENTS)
MAX_FILES = 65536
"""Open files of a container, as docker-compose.yml has them."""
HEALTHY_SECONDS = 180.0
"""Time until everything must be healthy, in seconds: much more than it takes, because a machine may be busy."""
DRAIN_SECONDS = 120.0
"""Time for the tasks of a drained agent to end, with SIGKILL after their grace period."""
_LOOK_SECONDS = 0.3

T = TypeVar("T")


class StackFailed(Exception):
    """Something of the cluster, or of the engine, did not do what it should; the message is for people."""


class Container(NamedTuple):
    """A container of the cluster."""

    id: str
    name: str
    service: str
    state: str
    """``running``, ``exited``, ``paused``, …"""
    health: str
    """``healthy``, ``starting``, ``unhealthy``; empty for a service without a health check."""
    exit_code: int
    pid: int
    """Its first process, as the engine's machine counts; 0 if it does not run."""
    hostname: str
    networks: Mapping[str, tuple[str, ...]]
    """Its networks, each with the names that it has there."""


def say(text: str) -> None:
    """Report to the person who runs a script."""
    print(text, flush=True)


def fail(text: str) -> NoReturn:
    """End a script with one line."""
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def until(what: str, check: Callable[[], T | None], timeout: float) -> T:
    """Ask again and again until the answer is true; that is the result. Raises StackFailed after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise StackFailed(f"not within {timeout:g} s: {what}")
        time.sleep(_LOOK_SECONDS)


def engine(*words: str, check: bool = True, timeout: float = 120.0) -> str:
    """What `docker` prints for a command. Raises StackFailed, with its own words, if it fails."""
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise StackFailed("there is no command docker") from None
    except subprocess.TimeoutExpired:
        raise StackFailed(f"docker {words[0]}: no answer within {timeout:g} s") from None
    if check and done.returncode != 0:
        raise StackFailed(f"docker {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def engine_answers() -> bool:
    """Whether there is a container engine that works."""
    if shutil.which("docker") is None:
        return False
    try:
        return bool(engine("version", "--format", "{{.Server.Version}}", timeout=20).strip())
    except StackFailed:
        return False


def compose_command() -> list[str]:
    """The Compose of this machine. Raises StackFailed if there is none."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) is not None:
            done = subprocess.run([*words, "version"], capture_output=True, timeout=60, check=False)
            if done.returncode == 0:
                return words
    raise StackFailed("neither 'docker compose' nor 'docker-compose' answers: install one of them")


class Stack:
    """A cluster from docker-compose.yml under the name of a project."""

    def __init__(self, project: str = PROJECT, ports: str = PORTS, credentials: Path | None = None) -> None:
        self.project = project
        self.ports = ports
        self.credentials = ROOT / ".staging" if credentials is None else credentials
        """The folder on this machine with the operator's token and the CA."""
        # The operator's client takes its token from there, and from nowhere else.
        os.environ.pop("BMESOS_TOKEN", None)
        os.environ["BMESOS_TOKEN_FILE"] = str(self.credentials / "token")
        self._compose = compose_command()

    # The cluster as a whole

    def compose(self, *words: str, quiet: bool = False) -> None:
        """Run Compose on the project. Raises StackFailed if it fails."""
        command = [*self._compose, "--project-name", self.project, "--file", str(ROOT / "docker-compose.yml"), *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"BMESOS_WEB_PORTS": self.ports, "BMESOS_NOFILE": str(max_files()), **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = f": {done.stdout.strip()[-2000:]}" if quiet else ""
            raise StackFailed(f"{' '.join(self._compose)} {words[0]} ended with {done.returncode}{last}")

    def build(self, quiet: bool = False) -> None:
        """Build the image of the daemons, which all services of ours share."""
        self.compose("build", "bootstrap", quiet=quiet)

    def up(self, *words: str, quiet: bool = False) -> None:
        """Start what does not run, wait until it is healthy, and fetch the operator's token. Raises StackFailed."""
        self.compose("up", "--detach", *words, quiet=quiet)
        self.wait_healthy()
        self.fetch_credentials()
        self.wait_ready()

    def down(self, quiet: bool = False) -> None:
        """Remove the cluster with everything that it keeps, and the operator's token."""
        # Compose forgets the volume without a name of a container that it has made anew: there are sandboxes in it.
        ids = [each.id for each in self.containers()]
        mounts = engine("inspect", "--format", "{{range .Mounts}}{{println .Type .Name}}{{end}}", *ids) if ids else ""
        volumes = {name for kind, _, name in (line.partition(" ") for line in mounts.splitlines()) if kind == "volume"}
        self.compose("down", "--volumes", "--remove-orphans", quiet=quiet)
        if left := volumes & set(engine("volume", "ls", "--quiet").split()):
            engine("volume", "rm", *left)
        shutil.rmtree(self.credentials, ignore_errors=True)

    def fetch_credentials(self) -> None:
        """Copy the operator's token and the CA to this machine, where only this user can read them."""
        (bootstrap,) = self.containers("bootstrap")
        self.credentials.mkdir(mode=0o700, exist_ok=True)
        self.credentials.chmod(0o700)
        engine("cp", f"{bootstrap.id}:/conf/operator/.", str(self.credentials))

    # Its containers

    def containers(self, *services: str) -> list[Container]:
        """The containers of these services, or of all, in the order of their names; those that do not run as well."""
        label = f"label=com.docker.compose.project={self.project}"
        ids = engine("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()
        found = [_container(each) for each in json.loads(engine("inspect", *ids))] if ids else []
        return sorted((each for each in found if not services or each.service in services), key=lambda each: each.name)

    def container(self, ident: str) -> Container:
        """This container as it is now."""
        return _container(json.loads(engine("inspect", ident))[0])

    def wait_healthy(self, *services: str, timeout: float = HEALTHY_SECONDS) -> None:
        """Wait until every container of these services, or of all, works. Raises StackFailed with the others."""
        missing: list[str] = []

        def healthy() -> bool:
            found = self.containers(*services)
            missing[:] = [
                f"{each.name} ({each.health or each.state})"
                for each in found
                if each.service != "bootstrap" and not (each.state == "running" and each.health in ("", "healthy"))
            ]
            return bool(found) and not missing

        try:
            until("healthy", healthy, timeout)
        except StackFailed:
            names = ", ".join(missing) or "there are no containers"
            raise StackFailed(f"not healthy within {timeout:g} s: {names}; see: docker logs NAME") from None

    def restart(self, container: Container) -> None:
        """Restart a container without losing a task, and wait until everything works again. A restart of a container
        ends everything in it: so an agent is drained before, its tasks run again elsewhere, and it is activated
        afterwards. Raises StackFailed."""
        host, agent = container.hostname, ""
        if container.service in AGENTS:
            self.wait_registered()
            agent = self._agents()[host].agent_id
            self.call(f"drain {agent}", lambda client: client.drain_agents(agent))
            until(f"{agent} is drained", lambda: _is_agent(self._agents()[host], "drained"), DRAIN_SECONDS)
        engine("restart", container.id)
        self.wait_healthy(container.service)
        if agent:
            until(f"{agent} is registered", lambda: _is_agent(self._agents()[host], "drained"), DRAIN_SECONDS)
            self.call(f"activate {agent}", lambda client: client.activate_agents(agent))
        self.wait_ready()
        self.wait_registered()

    # The operator API

    def urls(self) -> list[str]:
        """The URLs of the web servers that run, as seen from this machine."""
        found = []
        for each in self.containers("web"):
            if each.state == "running":
                printed = engine("port", each.id, "5050/tcp", check=False).split()
                found += [f"https://{address}" for address in printed]
        return sorted(set(found))

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables with which `bmesos` on this machine reaches the cluster as its operator."""
        return {
            "BMESOS_URL": url or (self.urls() or [f"https://127.0.0.1:{self.ports.partition('-')[0]}"])[0],
            "BMESOS_TLS_CA": str(self.credentials / "ca.crt"),
            "BMESOS_TOKEN_FILE": str(self.credentials / "token"),
        }

    def call(self, what: str, ask: Callable[[Client], T], timeout: float = 60.0) -> T:
        """The result of ``ask`` with the operator's client. Another web server is asked, again and again, as long as
        the answer is that something is away. Raises StackFailed after ``timeout`` seconds, and for other errors."""
        deadline = time.monotonic() + timeout
        while True:
            last = "no web server runs"
            for url in self.urls():
                with Client(url, timeout=10, tls_ca=self.credentials / "ca.crt") as client:
                    try:
                        return ask(client)
                    except Unavailable as error:
                        last = str(error)
                    except BrokerMesosError as error:
                        raise StackFailed(f"{what}: {error}") from None
            if time.monotonic() > deadline:
                raise StackFailed(f"{what}: {last}")
            time.sleep(_LOOK_SECONDS)

    def wait_ready(self, timeout: float = HEALTHY_SECONDS) -> None:
        """Wait until every web server reports that a master answers and each cell has an owner that is not behind."""
        until("all web servers are ready (/readyz)", self._ready, timeout)

    def wait_registered(self) -> None:
        """Wait until the agents of all containers are registered, and none is drained."""
        hosts = {each.hostname for each in self.containers(*AGENTS)}

        def registered() -> bool:
            known = self._agents()
            return all(host in known and _is_agent(known[host], "") for host in hosts)

        until(f"the agents on {', '.join(sorted(hosts))} are registered", registered, DRAIN_SECONDS)

    def _agents(self) -> dict[str, AgentView]:
        """All agents that the cluster knows, by host."""
        return {each.hostname: each for each in self.call("agents", lambda client: client.agents())}

    def _ready(self) -> bool:
        urls = self.urls()
        for url in urls:
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=10, context=self._tls()).close()
            except OSError:
                return False
        return len(urls) == len(self.containers("web"))

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.credentials / "ca.crt"))


def _container(found: Mapping[str, Any]) -> Container:
    state = found["State"]
    networks = found["NetworkSettings"]["Networks"] or {}
    return Container(
        found["Id"],
        found["Name"].lstrip("/"),
        found["Config"]["Labels"]["com.docker.compose.service"],
        state["Status"],
        state.get("Health", {}).get("Status", ""),
        state["ExitCode"],
        state["Pid"],
        found["Config"]["Hostname"],
        {name: tuple(network["Aliases"] or ()) for name, network in networks.items()},
    )


def _is_agent(found: AgentView, maintenance: str) -> bool:
    """Whether an agent is registered, and in this state of maintenance."""
    return found.state.value == "registered" and found.maintenance == maintenance


def max_files() -> int:
    """Open files of a container: an engine that has fewer, and may not raise them, refuses to start it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)


def missing_images(images: Iterable[str] = BASE_IMAGES) -> list[str]:
    """The images that are not on this machine."""
    # For one that is not there, `docker` prints an empty line.
    shown = {image: engine("image", "inspect", "--format", "{{.Id}}", image, check=False).strip() for image in images}
    return [image for image, found in shown.items() if not found]
