"""For comparison, in the same run: the bare limit of the machine, and another task queue.

A peer is installed from PyPI into an environment of its own, below ``.venv/peers``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

TRUE = "/bin/true"
SLOTS = 8
APP = Path(__file__).with_name("celery_app.py")


def spawn_and_wait(count: int) -> float:
    """Tasks a second, of one loop that starts a process and waits for it."""
    started = time.perf_counter()
    for _ in range(count):
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)
    return count / (time.perf_counter() - started)


def spawn_many(count: int, slots: int = SLOTS) -> float:
    """Tasks a second, with ``slots`` of them at once."""
    started = time.perf_counter()
    running = 0
    for _ in range(count):
        if running == slots:
            os.wait()
            running -= 1
        os.posix_spawn(TRUE, [TRUE], {})
        running += 1
    while running:
        os.wait()
        running -= 1
    return count / (time.perf_counter() - started)


class Celery:
    """1,000 × ``subprocess.run`` on 8 workers, results in Redis."""

    def __init__(self, amqp_url: str, redis_url: str) -> None:
        self._python = _environment("celery", "celery[redis]")
        self._env = {
            **os.environ,
            "BENCH_BROKER": amqp_url,
            "BENCH_BACKEND": redis_url.removesuffix("/0") + "/9",
            "PYTHONPATH": str(APP.parent),
        }
        self._worker = subprocess.Popen(
            [
                self._python, "-m", "celery", "-A", "celery_app", "worker",
                "-c", str(SLOTS), "--loglevel", "ERROR", "--without-gossip", "--without-mingle",
            ],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def run(self, count: int) -> float:
        """Tasks a second."""
        return self._measure("many", count)

    def latency(self, count: int) -> float:
        """Median milliseconds from sending one task to its result."""
        return self._measure("single", count)

    def _measure(self, what: str, count: int) -> float:
        done = subprocess.run(
            [self._python, str(APP), what, str(count)],
            env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=True,
        )  # fmt: skip
        return float(done.stdout.split()[-1])

    def close(self) -> None:
        """End the workers."""
        self._worker.terminate()
        try:
            self._worker.wait(20)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()


def _environment(name: str, *packages: str) -> str:
    folder = Path(sys.prefix) / "peers" / name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", *packages]
        subprocess.run(install, check=True)
    return str(python)
