"""One peer: installed from PyPI, started for its turn, asked, ended.

Its environment is a folder of ``.bench`` (``BENCH_CACHE`` names another place), made once. Whatever goes
wrong with a peer is a :class:`PeerFailed`; nothing that was measured is lost by it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import RabbitMQServer, RedisServer

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("BENCH_CACHE", HERE.parent.parent / ".bench"))
START, ANSWER = 90.0, 330.0
"""Seconds that a peer may take."""


class PeerFailed(Exception):
    """A peer cannot be measured, and why."""


@dataclass(frozen=True)
class Peer:
    """What there is to know of one."""

    name: str
    packages: tuple[str, ...]
    app: str
    """File of the client."""
    workers: tuple[str, ...] = ()
    """Words after ``python -m``, of the workers; none for a client that starts them itself."""

    @property
    def python(self) -> Path:
        """In its environment."""
        return CACHE / self.name.lower() / "bin" / "python"

    def install(self) -> None:
        """Unless it is there."""
        folder = CACHE / self.name.lower()
        if (folder / "installed").exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        _run([*pip, *self.packages])
        (folder / "installed").touch()

    def version(self) -> str:
        """Of its first package."""
        name = self.packages[0].partition("[")[0]
        code = f"from importlib.metadata import version; print(version({name!r}))"
        return _run([str(self.python), "-c", code]).strip()


PEERS = (
    Peer(
        "Celery",
        ("celery[redis]",),
        "celery_app.py",
        ("celery", "-A", "celery_app", "worker", "-c", "8", "--without-gossip", "--without-mingle"),
    ),
    Peer(
        "Dramatiq",
        ("dramatiq[rabbitmq,redis]",),
        "dramatiq_app.py",
        ("dramatiq", "dramatiq_app", "--processes", "8", "--threads", "1"),
    ),
    Peer("Dask", ("distributed",), "dask_app.py"),
    Peer("HyperQueue", ("hyperqueue",), "hyperqueue_app.py"),
)


class Turn:
    """A peer that is up and warm::

    with Turn(peer, rabbitmq, redis) as turn:
        seconds = turn.many(1_000)
    """

    def __init__(self, peer: Peer, rabbitmq: RabbitMQServer, redis: RedisServer) -> None:
        self._peer = peer
        self._processes: list[subprocess.Popen[str]] = []
        home = CACHE / "run" / f"{peer.name.lower()}-{os.getpid()}"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self._home = home
        self._env = {
            **os.environ,
            "BENCH_BROKER": rabbitmq.url,
            "BENCH_STORE": redis.url.removesuffix("/0") + "/9",
            "PYTHONPATH": str(HERE),
            "HOME": str(home),
            "TMPDIR": str(home),
            "dramatiq_queue_prefetch": "32",
        }

    def __enter__(self) -> Self:
        try:
            self._peer.install()
            if self._peer.workers:
                self._start("-m", *self._peer.workers, out=subprocess.DEVNULL)
            self._client = self._start(str(HERE / self._peer.app), out=subprocess.PIPE)
            self._line("ready", START)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def many(self, count: int) -> float:
        """Seconds from sending so many tasks to knowing all their results."""
        return self._ask("many", count)[0]

    def single(self, count: int) -> list[float]:
        """Seconds of each of so many, one after another."""
        return self._ask("single", count)

    def _ask(self, what: str, count: int) -> list[float]:
        assert self._client.stdin is not None
        try:
            self._client.stdin.write(f"{what} {count}\n")
            self._client.stdin.flush()
        except BrokenPipeError:
            raise self._failed("its client ended") from None
        return [float(each) for each in json.loads(self._line("[", ANSWER))]

    def _line(self, start: str, timeout: float) -> str:
        assert self._client.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._client.stdout, selectors.EVENT_READ)
            while selector.select(timeout):
                line = self._client.stdout.readline()
                if line.startswith(start):
                    return line
                if not line:
                    raise self._failed("its client ended")
        raise self._failed(f"no answer within {timeout:g} s")

    def _failed(self, what: str) -> PeerFailed:
        said = (self._home / "log").read_text(errors="replace").strip().splitlines()
        return PeerFailed(f"{what}: {said[-1]}" if said else what)

    def _start(self, *words: str, out: int) -> subprocess.Popen[str]:
        with (self._home / "log").open("a") as log:
            process = subprocess.Popen(
                [str(self._peer.python), *words],
                env=self._env,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _end(self) -> None:
        for process in reversed(self._processes):
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()  # the end of a client
            if process.stdout is None:
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        shutil.rmtree(self._home, ignore_errors=True)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerFailed(f"cannot be installed: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise PeerFailed(f"cannot be installed: {said[-1]}")
    return done.stdout
