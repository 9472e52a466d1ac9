"""A network namespace with one link to the machine, that a test can cut."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import pytest

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_IP = "/sbin/ip"  # sbin is not on everyone's PATH
_numbers = itertools.count()


def not_here(why: str) -> None:
    """Skip the test on a machine that does not allow it; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class Namespace:
    """``host`` is the machine's address as seen from within. The end of ``with`` removes it."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"bmesos-{os.getpid()}-{number}"
        self._link = f"bm{os.getpid() % 100_000}h{number}"
        self._inner = f"bm{os.getpid() % 100_000}n{number}"
        subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 256}"
        self.host = f"{subnet}.{4 * number + 1}"
        self._address = f"{subnet}.{4 * number + 2}"

    def __enter__(self) -> Self:
        try:
            _ip("netns", "add", self.name)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            not_here(f"no network namespaces here: {why.strip()}")
        try:
            _ip("link", "add", self._link, "type", "veth", "peer", "name", self._inner)
            _ip("link", "set", self._inner, "netns", self.name)
            _ip("addr", "add", f"{self.host}/30", "dev", self._link)
            _ip("link", "set", self._link, "up")
            for words in (
                ("addr", "add", f"{self._address}/30", "dev", self._inner),
                ("link", "set", self._inner, "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", self.name, *words)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Processes inside keep the namespace alive, not its link.
        subprocess.run([_IP, "link", "del", self._link], capture_output=True, check=False)
        subprocess.run([_IP, "netns", "del", self.name], capture_output=True, check=False)

    def cut(self) -> None:
        """Take the link down: what is sent is lost, nobody is told."""
        _ip("link", "set", self._link, "down")

    def heal(self) -> None:
        _ip("link", "set", self._link, "up")

    def call(self, work: Callable[[], T]) -> T:
        """Run ``work`` within; processes that it starts stay there."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                fd = os.open(f"/var/run/netns/{self.name}", os.O_RDONLY)
                try:
                    # A thread's own: the others stay where they are.
                    if libc.setns(fd, _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(fd)
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def _ip(*words: str) -> None:
    done = subprocess.run([_IP, *words], check=False, capture_output=True, text=True)
    if done.returncode:
        why = f"{done.stderr.strip()} (exit {done.returncode} of ip {' '.join(words)})"
        raise subprocess.CalledProcessError(done.returncode, why, stderr=why)
