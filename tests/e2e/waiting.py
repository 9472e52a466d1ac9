"""Waiting for what only asking can tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from broker_mesos.client import Client
from broker_mesos.core.api.jobs import GetTask, JobTask
from broker_mesos.errors import Unavailable

READY = 90.0
"""Seconds until a daemon must serve: much, because the machine may be busy."""
LOOK = 0.02

T = TypeVar("T")


class E2EFailed(AssertionError):
    """Something did not happen in time, or a daemon ended badly; the message holds the logs' ends."""


def until(what: str, check: Callable[[], T | None], timeout: float = READY) -> T:
    """Ask again and again, until ``check`` returns something true; that is the result.

    An Unavailable counts as not yet. Raises E2EFailed, saying ``what`` was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object = None
        try:
            last = found = check()
            if found:
                return found
        except Unavailable as error:
            last = error
        if time.monotonic() > deadline:
            raise E2EFailed(f"not within {timeout:g} s: {what} (last: {last!r})")
        time.sleep(LOOK)


def until_none(what: str, left: Callable[[], Collection[object]], timeout: float = READY) -> None:
    """Ask again and again, until nothing is left. Raises E2EFailed, naming what is."""
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            last = left()
            if not last:
                return
        except Unavailable as error:
            last = error
        if time.monotonic() > deadline:
            raise E2EFailed(f"not within {timeout:g} s: {what} (left: {last!r})")
        time.sleep(LOOK)


def until_running(client: Client, job_id: str) -> None:
    """Wait until the first task of a job has a process. (A job counts tasks as running that are still launched.)"""
    until("it runs", lambda: client.ask(GetTask(task_id=job_id), JobTask).state == "running")
