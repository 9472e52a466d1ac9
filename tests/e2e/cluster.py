"""Real daemons as processes on real servers: for end-to-end tests, fault injection and benchmarks.

Nothing here depends on pytest. Every process works below ``tmp`` and carries its path in TMPDIR, which is how
whatever is left of a cluster is found at its end::

    with Cluster(rabbitmq.url, redis.url, "t1", tmp) as cluster:
        master = cluster.master(cells=4)
        agent = cluster.agent(resources="cpus:4;mem:4096;disk:0;ports:[]", attributes="rack:r1")
        cluster.batch()
        cluster.ready()                        # all of them serve: asked through the operator API
        job = cluster.client().submit("true")
        done = cluster.cli("status", job.id)   # a CompletedProcess
        agent.kill()                           # SIGKILL
        master.pause(); master.resume()        # SIGSTOP, SIGCONT
        master.stop()                          # SIGTERM, exit code 0 asserted

``close`` (the end of ``with``) kills all jobs, ends every daemon by SIGTERM, asserts that each exits with 0,
and that no process is left. On any failure the logs are printed. All methods block.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pika

from broker_mesos.bus.topology import Topology
from broker_mesos.client import Client
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from tests.e2e.waiting import LOOK, READY, E2EFailed, until, until_none
from tests.servers import free_port, wait_stopped

BMESOS = str(Path(sys.executable).with_name("bmesos"))
"""The installed command of the interpreter that runs this."""

STOP = 20.0
CLI = 30.0


class Daemon:
    """One process of a cluster. Started by the methods of :class:`Cluster`."""

    def __init__(self, cluster: Cluster, kind: str, name: str, words: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.log = cluster.tmp / f"{name}.log"
        self.words = [BMESOS, *words]
        self._cluster = cluster
        self._paused = False
        self._ready = False
        self._killed = False
        self.work_dir: Path | None = None
        """An agent's."""
        self.url = ""
        """A web daemon's."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words,
                cwd=cluster.tmp,
                env=cluster.environment(kind, name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for pytest.
                process_group=0,
            )

    def __repr__(self) -> str:
        return f"<{self.name} pid {self.pid}>"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's records of one event."""
        found = []
        for line in self.text().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("event") == name:
                    found.append(record)
        return found

    def ready(self, timeout: float = READY) -> Self:
        """Wait until it serves."""
        if not self._ready:
            until(f"{self.name} serves", lambda: self._alive() and self._cluster.serves(self), timeout)
            self._ready = True
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the process to be gone. Tasks of an agent live on."""
        self._killed = True
        self.process.kill()
        self.process.wait(STOP)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nobody answers."""
        self._paused = True
        self.signal(signal.SIGSTOP)
        wait_stopped(self.pid)

    def resume(self) -> None:
        self._paused = False
        self.signal(signal.SIGCONT)

    def stop(self, timeout: float = STOP) -> None:
        """SIGTERM; asserts that it ends with exit code 0 in time. No-op once it was stopped or killed."""
        self.terminate()
        self.ended(timeout)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self.running:
            self.signal(signal.SIGTERM)
            if self._paused:
                self.resume()

    def ended(self, timeout: float = STOP) -> None:
        """Wait for the end that was asked for; asserts exit code 0."""
        if self._killed:
            return
        try:
            code = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise E2EFailed(f"{self.name} did not end within {timeout:g} s of SIGTERM") from None
        if code != 0:
            self._killed = True  # said once
            raise E2EFailed(f"{self.name} ended with exit code {code}")

    def wait(self, timeout: float = READY) -> int:
        """The exit code of a process that ends by itself."""
        return self.process.wait(timeout)

    def _alive(self) -> bool:
        if not self.running:
            raise E2EFailed(f"{self.name} ended with {self.process.returncode}:\n{self.text()[-3_000:]}")
        return True


class Cluster:
    """The daemons of one cluster, and those who use it."""

    def __init__(
        self,
        amqp_url: str,
        redis_url: str,
        name: str,
        tmp: Path,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """``settings``: more of ``runtime/settings.py``, for all processes: ``{"offer_timeout": 2}``."""
        self.amqp_url = amqp_url
        self.admin_url = amqp_url
        """Of the tests' own connections."""
        self.redis_url = redis_url
        self.name = name
        self.tmp = tmp.absolute()
        self.tmp.mkdir(parents=True, exist_ok=True)
        self.daemons: list[Daemon] = []
        self.cells = 0
        """What the first master was told; 0 if nothing."""
        self._client: Client | None = None
        self._clients: list[Client] = []
        self._numbers: dict[str, int] = {}
        self._programs: list[subprocess.Popen[bytes]] = []
        clean = {key: value for key, value in os.environ.items() if not key.upper().startswith("BMESOS_")}
        security = ("tls_ca", "tls_cert", "tls_key", "insecure_plaintext")
        self._security: Any = {key: value for key, value in (settings or {}).items() if key in security}
        given = {f"BMESOS_{key.upper()}": str(value) for key, value in (settings or {}).items()}
        self.env = {
            **clean,
            "BMESOS_BROKER_URL": amqp_url,
            "BMESOS_STORE_URL": redis_url,
            "BMESOS_CLUSTER": name,
            "BMESOS_URL": amqp_url,
            "BMESOS_LOG_FORMAT": "json",
            "TMPDIR": str(self.tmp),
            "NO_COLOR": "1",
            **given,
        }

    def environment(self, kind: str, name: str) -> dict[str, str]:
        """The variables of a daemon."""
        return self.env

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self.show_logs()
        self.abort()

    # -- daemons --------------------------------------------------------------------------------------

    def master(self, cells: int | None = None) -> Daemon:
        """Start a master. The first one of a cluster fixes the number of cells."""
        self.cells = self.cells or cells or 0
        return self._start("master", *(() if cells is None else ("--cells", str(cells))))

    def agent(
        self,
        resources: str | None = "cpus:4;mem:4096;disk:0;ports:[]",
        attributes: str | None = None,
        work_dir: Path | None = None,
    ) -> Daemon:
        """Start an agent. The same ``work_dir`` again makes it the same agent; None is a new folder."""
        folder = work_dir or self.tmp / f"work-{self._numbers.get('agent', 0) + 1}"
        words = ["--work-dir", str(folder)]
        if resources is not None:
            words += ["--resources", resources]
        if attributes is not None:
            words += ["--attributes", attributes]
        daemon = self._start("agent", *words)
        daemon.work_dir = folder
        return daemon

    def batch(self) -> Daemon:
        """Start a worker of the batch framework."""
        return self._start("batch", "framework", "batch")

    def web(self, *words: str) -> Daemon:
        """Start the HTTP face, at ``daemon.url``; with ``--cert FILE`` among the words it is that of ``localhost``."""
        port = free_port()
        daemon = self._start("web", "--port", str(port), *words)
        daemon.url = f"https://localhost:{port}" if "--cert" in words else f"http://127.0.0.1:{port}"
        return daemon

    def start(self, *words: str, name: str = "daemon") -> Daemon:
        """Start any command line, e.g. a daemon that is to be refused; it is not waited for by ``ready``."""
        daemon = Daemon(self, "other", self._name(name), words)
        daemon._ready = True
        self.daemons.append(daemon)
        return daemon

    def ready(self, timeout: float = READY) -> Self:
        """Wait until every daemon that runs serves, and every cell has an owner."""
        try:
            for daemon in self.daemons:
                if daemon.running or not daemon._ready:
                    daemon.ready(timeout)
            until("every cell has an owner", lambda: all(each.owner for each in self.client().cluster().cells))
        except BaseException:
            self.show_logs()
            raise
        return self

    def serves(self, daemon: Daemon) -> bool:
        """Whether a daemon does its work, as the operator API shows it."""
        match daemon.kind:
            case "master":
                return any(each.pid == daemon.pid for each in self.client().cluster().masters)
            case "agent":
                return any(
                    each.pid == daemon.pid and each.state.value == "registered" for each in self.client().agents()
                )
            case "batch":
                # They are one framework; each answers requests from the same queue.
                workers = sum(1 for each in self.daemons if each.kind == "batch" and each.running)
                return (
                    self.consumers(Queue(QueueKind.OPERATOR_FRAMEWORK, "batch")) >= workers
                    and self.client().jobs(limit=1) is not None
                )
            case "web":
                return bool(self.client(daemon.url).cluster().cells)
        return True

    def of(self, kind: str) -> list[Daemon]:
        """The daemons of a kind that run: ``master``, ``agent``, ``batch``, ``web``."""
        return [each for each in self.daemons if each.kind == kind and each.running]

    def owner(self, cell: int) -> Daemon:
        """The master that owns a cell now."""

        def look() -> Daemon | None:
            pid = self.client().cluster().cells[cell].pid
            return next((each for each in self.of("master") if each.pid == pid), None)

        return until(f"cell {cell} has a living owner", look)

    def agent_id(self, agent: Daemon) -> str:
        """The id in its work folder, of an agent that is ready."""
        agents = self.client().agents
        return until(
            "its cell knows the agent",
            lambda: next((each.agent_id for each in agents() if each.pid == agent.pid), None),
        )

    # -- users ----------------------------------------------------------------------------------------

    def client(self, url: str | None = None) -> Client:
        """The Python client: one over RabbitMQ, shared by all who name no URL."""
        if url is None and self._client is not None:
            return self._client
        made = Client(url or self.amqp_url, cluster=self.name, timeout=10, **self._security)
        self._clients.append(made)
        if url is None:
            self._client = made
        return made

    def cli(
        self,
        *words: str,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = CLI,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``bmesos …`` to its end, by default over RabbitMQ; never raises for its exit code."""
        return subprocess.run(
            [BMESOS, *words],
            cwd=self.tmp,
            env=self._cli_env(url, env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def cli_all(
        self,
        commands: Iterable[Sequence[str]],
        *,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = CLI,
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run several commands at once, each to its end."""
        programs = [self.cli_start(*words, url=url, env=env) for words in commands]
        done = []
        for program in programs:
            out, err = program.communicate(timeout=timeout)
            done.append(subprocess.CompletedProcess(program.args, program.returncode, out.decode(), err.decode()))
        return done

    def cli_start(
        self, *words: str, url: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``bmesos …`` with pipes for both streams, unbuffered; the caller ends it."""
        program = subprocess.Popen(
            [BMESOS, *words],
            cwd=self.tmp,
            env=self._cli_env(url, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        self._programs.append(program)
        return program

    def _cli_env(self, url: str | None, env: Mapping[str, str] | None) -> dict[str, str]:
        # As a person reads it: daemons of the cluster log JSON.
        return {**self.env, "BMESOS_LOG_FORMAT": "text", **({} if url is None else {"BMESOS_URL": url}), **(env or {})}

    # -- the broker -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def channel(self) -> Any:
        """A pika channel of its own, with confirms: to publish what no daemon would, to look into queues."""
        connection = pika.BlockingConnection(pika.URLParameters(self.admin_url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            connection.close()

    def queue_name(self, queue: Queue) -> str:
        return Topology(self.name).queue_spec(queue).name

    def consumers(self, queue: Queue) -> int:
        """How many consume a queue; 0 if there is none."""
        try:
            with self.channel() as channel:
                return int(channel.queue_declare(self.queue_name(queue), passive=True).method.consumer_count)
        except pika.exceptions.ChannelClosedByBroker:
            return 0

    # -- the end --------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything in order, and assert that it did."""
        try:
            self._end_jobs()
            for program in self._programs:
                if program.poll() is None:
                    program.kill()
                program.communicate()
            for client in self._clients:
                client.close()
            # Users of masters before masters: an agent says its last words to somebody.
            for kinds in (("web", "batch"), ("agent",), ("master", "other")):
                ending = [each for each in self.daemons if each.kind in kinds]
                for daemon in ending:
                    daemon.terminate()
                for daemon in ending:
                    daemon.ended()
            self.assert_nothing_left()
        except BaseException:
            self.show_logs()
            raise
        finally:
            self.abort()

    def abort(self) -> None:
        """SIGKILL for whatever still runs, tasks included."""
        for client in self._clients:
            with contextlib.suppress(Exception):
                client.close()
        for daemon in self.daemons:
            if daemon.running:
                daemon.kill()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left(self) -> dict[int, str]:
        """Processes of this cluster, of every kind: pid → command line."""
        mark = os.fsencode(str(self.tmp))
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                if command and mark in command + (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
        return found

    def assert_nothing_left(self, timeout: float = 5.0) -> None:
        """Neither daemons nor spawners nor tasks."""
        deadline = time.monotonic() + timeout
        while left := self.left():
            if time.monotonic() > deadline:
                raise E2EFailed(f"processes left: {left}")
            time.sleep(LOOK)

    def show_logs(self, lines: int = 60) -> None:
        """The ends of all logs, on stdout: pytest shows them with the failure."""
        for daemon in self.daemons:
            state = "runs" if daemon.running else f"ended with {daemon.process.returncode}"
            print(f"\n===== {daemon.name} (pid {daemon.pid}, {state}): {' '.join(daemon.words[1:])}")
            print("\n".join(daemon.text().splitlines()[-lines:]))
            spawner = daemon.work_dir and daemon.work_dir / "meta" / "spawner.log"
            if spawner and spawner.exists() and spawner.stat().st_size:
                print(f"----- {spawner}\n{spawner.read_text(errors='replace')[-2_000:]}")

    def _end_jobs(self) -> None:
        if not (self.of("master") and self.of("batch") and self._client):
            return
        for job in self._client.jobs(limit=1_000, active=True):
            self._client.kill_job(job.job_id)
        if self.of("agent"):
            # A job that has ended may leave a task that still dies: the cells know.
            client = self._client
            until_none("no task is left", lambda: [task for task in client.tasks() if not task.state.terminal])

    def _start(self, kind: str, *words: str) -> Daemon:
        line = words if kind == "batch" else (kind, *words)
        daemon = Daemon(self, kind, self._name(kind), line)
        self.daemons.append(daemon)
        return daemon

    def _name(self, kind: str) -> str:
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        return f"{kind}-{self._numbers[kind]}"
