"""Private RabbitMQ and Redis instances, for tests, benchmarks and fault injection.

Each server runs on loopback, on free ports, with all it writes in one data folder; RabbitMQ has its own epmd
and cookie as well, so nothing is shared with a system service or another run. Nothing here depends on pytest:
tests get the servers as fixtures of `tests/conftest.py`; benchmarks, run from the repository's root, say
`from tests.servers import RabbitMQServer, RedisServer`.

    with RabbitMQServer() as rabbitmq, RedisServer() as redis:
        ...  # rabbitmq.url, redis.url

    server.stop()      # ends it as its operator would (SIGTERM)
    server.kill()      # SIGKILL: what a crash leaves behind
    server.restart()   # again on the same port, with the data that is there
    server.pause()     # SIGSTOP: connections stay open, nobody answers
    server.resume()
    server.close()     # stop, and remove the folder if it was ours; leaving `with` does this

`start` returns when the server has answered in its own protocol, and raises `ServerFailed`, with the tail of
its log, when that takes more than 60 s. All methods block: from asyncio, call them by `asyncio.to_thread`.
If the process that started a server dies without closing it, a small shell ends the server and removes the
folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

START_TIMEOUT = 100.0
STOP_TIMEOUT = 60.0

# Below the kernel's ephemeral range (32768 up), where an outgoing connection could take a port between our
# look and the server's bind; the system's randomness, so that seeded runs do not choose alike.
_PORTS = range(20_000, 32_000)
_random = random.SystemRandom()

# Waits for a line on its stdin. End of file instead: its owner died, so end these groups, remove this folder.
_WATCHDOG = """
read -r _ && exit 0
for pid in $1; do kill -s KILL -- "-$pid" 2>/dev/null; done
[ -z "$2" ] || rm -rf -- "$2"
"""


def wait_stopped(pid: int, timeout: float = 10.0) -> None:
    """Wait until a SIGSTOP has reached every thread of a process: until then some of them still run and may answer."""
    end = time.monotonic() + timeout
    while not all(
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0] in "TZ"
        for task in Path(f"/proc/{pid}/task").iterdir()
    ):
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} does not stop")
        time.sleep(0.001)


class ServerMissing(RuntimeError):
    """The server's program is not installed."""


class ServerFailed(RuntimeError):
    """The server did not start; the message holds the tail of its log."""


def free_port() -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago."""
    for _ in range(1_000):
        port = _random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed("no free port on 127.0.0.1 in 20000-31999")


def _program(name: str, *places: str) -> str:
    """The path of a server's program, or `ServerMissing` with the way out."""
    for place in places:
        if os.access(place, os.X_OK):
            return place
    # sbin is not on everyone's PATH
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise ServerMissing(f"{name} is not installed: run `make servers` (or `make test`, which does it for you)")
    return found


class _Server:
    """What both servers share: processes in groups of their own, a data folder, and their end."""

    name: str

    def __init__(self, data_dir: str | os.PathLike[str] | None = None) -> None:
        self._owns_dir = data_dir is None
        self._given_dir = None if data_dir is None else Path(data_dir)
        self._dir: Path | None = None
        self._port: int | None = None
        self._main: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    # what a subclass says

    def _prepare(self) -> None:
        """Look for programs, choose ports, write files. Called before every start."""

    def _launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        """Whether the server answers in its own protocol; may raise OSError for no."""
        raise NotImplementedError

    def _helpers(self) -> list[subprocess.Popen[bytes]]:
        return []

    def _forget_ports(self) -> None:
        self._port = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    # what a user calls

    @property
    def port(self) -> int:
        assert self._port is not None, f"{self.name} has never been started"
        return self._port

    @property
    def data_dir(self) -> Path:
        """The folder with everything that the server writes; it outlives `stop` and `kill`, not `close`."""
        if self._dir is None:
            self._dir = self._given_dir or Path(tempfile.mkdtemp(prefix=f"bmesos-{self.name}-"))
            self._dir.mkdir(parents=True, exist_ok=True)
        return self._dir

    @property
    def log(self) -> Path:
        return self.data_dir / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self._main is not None, f"{self.name} is not running"
        return self._main.pid

    @property
    def running(self) -> bool:
        return self._main is not None and self._main.poll() is None

    def start(self) -> Self:
        """Start, and return once it answers. A restart keeps port and data. No-op while running."""
        if self.running:
            return self
        first = self._port is None
        for attempt in (1, 2, 3):
            try:
                self._start_once()
                return self
            except ServerFailed:
                self._end(signal.SIGKILL)
                # Somebody else may have taken a port of ours; clients know it from the first start on.
                if not first or attempt == 3:
                    raise
                self._forget_ports()
            except BaseException:
                self._end(signal.SIGKILL)
                raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End it in order (SIGTERM; SIGKILL if that takes 30 s). The data stay. No-op when not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, at once. The data stay as they are on disk."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the same port with the same data."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Stop the processes (SIGSTOP): the kernel still accepts connections, nobody answers."""
        os.killpg(self.pid, signal.SIGSTOP)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.getpgid(int(entry.name)) == self.pid:
                        wait_stopped(int(entry.name))

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End everything, and remove the data folder if it was made here."""
        self._end(signal.SIGTERM)
        if self._owns_dir and self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # inside

    def _start_once(self) -> None:
        self._prepare()
        self._main = self._launch()
        self._watch([self._main, *self._helpers()])
        deadline = time.monotonic() + START_TIMEOUT
        exited = os.pidfd_open(self._main.pid)
        try:
            while True:
                with contextlib.suppress(OSError):
                    if self._answers():
                        return
                # wakes early when the process ends
                if select.select([exited], [], [], 0.05)[0]:
                    raise ServerFailed(f"{self.name} ended with {self._main.wait()}\n{self._log_tail()}")
                if time.monotonic() > deadline:
                    raise ServerFailed(f"{self.name} did not answer within {START_TIMEOUT} s\n{self._log_tail()}")
        finally:
            os.close(exited)

    def _spawn(self, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A child in a process group of its own, so that Ctrl-C in the terminal does not reach it."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=env,
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def _watch(self, processes: list[subprocess.Popen[bytes]]) -> None:
        pids = " ".join(str(process.pid) for process in processes)
        folder = str(self.data_dir) if self._owns_dir else ""
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", pids, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _end(self, how: signal.Signals) -> None:
        if self._main is not None:
            # A paused process would not see a SIGTERM. The shell in front of RabbitMQ passes that on itself.
            with contextlib.suppress(ProcessLookupError):
                if how == signal.SIGTERM:
                    os.killpg(self._main.pid, signal.SIGCONT)
                    os.kill(self._main.pid, how)
            if how == signal.SIGTERM:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._main.wait(STOP_TIMEOUT)
            self._kill_group(self._main)
            self._main = None
        for helper in self._helpers():
            self._kill_group(helper)
        if self._watchdog is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.communicate(b"done\n")
            self._watchdog = None

    def _kill_group(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # The leader's children are not ours to wait for: the group is empty when it cannot be signalled.
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.005)
        raise ServerFailed(f"processes of {self.name} outlived a SIGKILL (group {process.pid})")

    def _log_tail(self) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
        except OSError:
            return "(no log)"


class RabbitMQServer(_Server):
    """A private RabbitMQ node with the user guest/guest. A start takes about 5 s.

    `config` adds lines to rabbitmq.conf, dots written as they are there: `{"consumer_timeout": "5000"}`. With
    `management` the HTTP API listens at `management_url` (a start then takes about 2 s more).
    """

    name = "rabbitmq"

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        config: dict[str, str] | None = None,
        management: bool = False,
    ) -> None:
        super().__init__(data_dir)
        self._config = dict(config or {})
        self._management = management
        self._management_port = 0
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_port = 0
        self._dist_port = 0
        self._script = ""

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def management_url(self) -> str:
        assert self._management_port, "started without management=True"
        return f"http://127.0.0.1:{self._management_port}"

    @property
    def node(self) -> str:
        # The folder's mnesia tables belong to a node name, so it must not change with the port.
        return "bmesos@localhost"

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this node (about 1 s) and return its output."""
        ctl = Path(self._script).with_name("rabbitmqctl")
        done = subprocess.run(
            [str(ctl), "--node", self.node, *arguments],
            env=self._environment(),
            cwd=self.data_dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STOP_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def _helpers(self) -> list[subprocess.Popen[bytes]]:
        return [] if self._epmd is None else [self._epmd]

    def _forget_ports(self) -> None:
        super()._forget_ports()
        self._epmd_port = self._dist_port = self._management_port = 0

    def _prepare(self) -> None:
        # Not Debian's /usr/sbin/rabbitmq-server, which changes to the user rabbitmq and its folders.
        self._script = _program("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
        self._port = self._port or free_port()
        self._epmd_port = self._epmd_port or free_port()
        self._dist_port = self._dist_port or free_port()
        for folder in ("home", "mnesia", "logs"):
            (self.data_dir / folder).mkdir(exist_ok=True)
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self._port}",
            # the console is the log: one file, ours
            "log.file": "false",
            "log.console": "true",
            "log.console.level": "warning",
            "disk_free_limit.absolute": "50MB",
            # 0.4 of the machine by default, which several nodes at once do not have
            "vm_memory_high_watermark.absolute": "1GB",
            **self._config,
        }
        if self._management:
            self._management_port = self._management_port or free_port()
            settings |= {"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(self._management_port)}
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        (self.data_dir / "rabbitmq.conf").write_text("".join(lines))
        (self.data_dir / "advanced.config").write_text("[].\n")
        plugins = "rabbitmq_management" if self._management else ""
        (self.data_dir / "enabled_plugins").write_text(f"[{plugins}].\n")

    def _launch(self) -> subprocess.Popen[bytes]:
        # By us, in the foreground: a node that finds no epmd starts one that daemonizes out of every group.
        epmd = _program("epmd")
        self._epmd = self._spawn(epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1", "-relaxed_command_check")
        self._wait_for_epmd()
        return self._spawn(self._script, env=self._environment())

    def _wait_for_epmd(self) -> None:
        assert self._epmd is not None
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._epmd_port), timeout=1).close()
                return
            except OSError:
                if self._epmd.poll() is not None or time.monotonic() > deadline:
                    raise ServerFailed(f"epmd does not listen\n{self._log_tail()}") from None
                time.sleep(0.01)

    def _environment(self) -> dict[str, str]:
        base = self.data_dir
        # Two schedulers and no busy waiting: several nodes share a small machine with the tests themselves.
        erl = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))}
        return inherited | {
            "HOME": str(base / "home"),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(base / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(base / "feature_flags"),
            "RABBITMQ_LOG_BASE": str(base / "logs"),
            "RABBITMQ_PID_FILE": str(base / "rabbitmq.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erl,
        }

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.settimeout(5)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            # Connection.Start is a method frame (1) on channel 0; a refusal starts with "AMQP"
            if connection.recv(1) != b"\x01":
                return False
        if self._management:
            socket.create_connection(("127.0.0.1", self._management_port), timeout=2).close()
        return True


class RedisServer(_Server):
    """A private Redis with the settings that broker_mesos supports. A start takes some 50 ms.

    `config` overrides or adds settings of redis.conf: `RedisServer(config={"appendfsync": "everysec"})`.
    """

    name = "redis"

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        config: dict[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir)
        self._config = {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
        } | dict(config or {})

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _launch(self) -> subprocess.Popen[bytes]:
        program = _program("redis-server")
        self._port = self._port or free_port()
        settings = {
            "bind": "127.0.0.1",
            "protected-mode": "yes",
            "port": str(self._port),
            "dir": str(self.data_dir),
            "daemonize": "no",
        } | self._config
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        return self._spawn(program, *arguments)

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.settimeout(5)
            connection.sendall(b"PING\r\n")
            # "-LOADING" while it reads its data; "-NOAUTH" when a test sets a password: that one is up
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
