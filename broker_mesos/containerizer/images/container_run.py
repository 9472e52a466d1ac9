"""Runs one container to its end, whatever becomes of its engine meanwhile.

A container is started at most once: after each request without an answer the engine is asked how the container is,
before anything is requested again. An engine that does not answer is not the end of a container, which may well run on.
"""

from __future__ import annotations

import os
import signal
import socket as sockets
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from broker_mesos.containerizer.images import record
from broker_mesos.containerizer.images.engine import (
    connect,
    has_started,
    is_away,
    is_refusal,
    one_line,
    reason_of,
    status_of,
)
from broker_mesos.containerizer.images.record import Outcome, Used
from broker_mesos.containerizer.process.gpus import CUDA, NVIDIA, PATHS

RECONNECT_SECONDS = 300.0
"""Time for which an engine may be away before its container is lost."""
EPISODE_SECONDS = 60.0
"""Time without a failed request after which the engine is taken to have been back."""
MAX_PAUSE_SECONDS = 5.0
MIN_PAUSE_SECONDS = 0.05
MAX_SAMPLE_SECONDS = 10.0
MIN_SAMPLE_SECONDS = 0.25
REMOVE_SECONDS = 5.0
"""Time for which the removal of an ended container is tried; later the agent does it."""
RETRY_KILL_SECONDS = 1.0
NOT_FOUND, CONFLICT = 404, 409
KILLED_CODE = 128 + signal.SIGKILL
NO_CODE = 1
"""The exit code of this process for a container without one."""


class Lost(Exception):
    """The container is gone, or its engine was away for too long."""


class NotStarted(Exception):
    """The container could not be started, for a reason in one line."""


class Cancelled(Exception):
    """The task was killed before its container was started."""


class ContainerRun:
    """A container of the engine at a socket. ``client_of`` connects to it, and ``clock`` and ``pause`` are those of
    time in seconds."""

    def __init__(
        self,
        folder: str,
        *,
        client_of: Callable[..., Any] = connect,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        request = record.read(folder, record.REQUEST)
        self._socket = str(request["socket"])
        self._name = str(request["name"])
        self._config: dict[str, Any] = request["config"]
        self._config["Env"] = [*(self._config.get("Env") or ()), *_gpu_variables()]
        self._config["HostConfig"]["Devices"] = [
            {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}
            for path in os.environ.get(PATHS, "").split(":")
            if path
        ]
        self._grace = float(request["grace"])
        self._oom_ignored = bool(request["oom_ignored"])
        self._client_of = client_of
        self._clock = clock
        self._pause = pause
        self._client: Any = None
        self._container = ""
        self._away_since = self._failed_at = -EPISODE_SECONDS
        self._pause_seconds = MIN_PAUSE_SECONDS
        self._wake = threading.Event()
        self._ended: threading.Event = threading.Event()
        self._lost = ""
        self._kill_at: float | None = None
        self._term_sent = False
        self._next_kill = 0.0
        self._used = Used()
        self._next_sample = MIN_SAMPLE_SECONDS
        self._sample_at = 0.0

    def terminate(self) -> None:
        """End the container, after the grace that the agent has written down; each call may shorten it."""
        written = record.read(self._folder, record.GRACE)
        grace = float(written) if isinstance(written, int | float) else self._grace
        at = self._clock() + max(0.0, grace)
        self._kill_at = at if self._kill_at is None else min(at, self._kill_at)
        self._term_sent = self._term_sent or grace <= 0
        self._wake.set()

    def run(self) -> Outcome:
        """Run the container. Returns how it has ended, which is written down by then."""
        try:
            self._start()
            outcome = self._watch()
        except NotStarted as error:
            outcome = Outcome(None, str(error), "launch")
        except Cancelled:
            outcome = Outcome(128 + signal.SIGTERM)
        except Lost as error:
            self._log(str(error))
            outcome = Outcome(None)
        record.write(self._folder, record.USAGE, self._used)
        record.write(self._folder, record.OUTCOME, outcome)
        self._remove()
        return outcome

    # -- the start ---------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the container, at most once. Raises NotStarted, Cancelled, Lost."""
        while True:
            if self._kill_at is not None:
                raise Cancelled
            try:
                state = self._state(self._name)
                if state is None:
                    self._api().create_container_from_config(self._config, self._name)
                    state = {}
                if has_started(state):
                    return
                self._api().start(self._name)
                return
            except Exception as error:
                if is_refusal(error) and status_of(error) == CONFLICT:
                    self._back_off(error)  # the name is being made or removed this moment
                elif is_refusal(error):
                    raise NotStarted(f"image {self._config['Image']}: {reason_of(error)}") from None
                else:
                    self._back_off(error)

    def _state(self, name: str) -> dict[str, Any] | None:
        """The state of the container of this launch; None if it is not there. One of an earlier launch with its name is
        removed."""
        try:
            found = self._api().inspect_container(name)
        except Exception as error:
            if status_of(error) == NOT_FOUND:
                return None
            raise
        if (found.get("Config") or {}).get("Labels") == self._config["Labels"]:
            self._container = str(found["Id"])
            return dict(found.get("State") or {})
        self._api().remove_container(name, force=True, v=True)
        return None

    # -- the end -----------------------------------------------------------------------------------------

    def _watch(self) -> Outcome:
        """Wait for the end of the container. Raises Lost."""
        threading.Thread(target=self._wait, daemon=True).start()
        self._sample_at = self._clock() + self._next_sample
        while not self._ended.is_set():
            self._wake.wait(self._timeout())
            self._wake.clear()
            if not self._ended.is_set():
                self._kill_if_due()
                self._sample_if_due()
        if self._lost:
            raise Lost(self._lost)
        return self._outcome()

    def _timeout(self) -> float:
        times = [self._sample_at]
        if self._kill_at is not None:
            times.append(self._kill_at if self._term_sent else 0.0)
            times[-1] = max(times[-1], self._next_kill)
        return max(0.0, min(times) - self._clock())

    def _wait(self) -> None:
        """Wait for the end of the container, in a thread: an engine answers this request only then."""
        client: Any = None
        try:
            while True:
                try:
                    client = client or self._client_of(self._socket)
                    client.wait(self._name)  # without a time-out
                    break
                except Exception as error:
                    if status_of(error) == NOT_FOUND:
                        self._lost = "its container is gone: somebody has removed it"
                        break
                    client = None
                    self._back_off(error)
        except Lost as error:
            self._lost = str(error)
        finally:
            self._ended.set()
            self._wake.set()

    def _outcome(self) -> Outcome:
        while True:
            try:
                state = self._state(self._name)
                break
            except Exception as error:
                self._back_off(error)
        if state is None:
            raise Lost("its container is gone: somebody has removed it")
        code = int(state.get("ExitCode") or 0)
        memory = int(self._config["HostConfig"].get("Memory") or 0)
        if state.get("OOMKilled") and (not self._oom_ignored or code == KILLED_CODE):
            text = "killed for memory: this machine was short of it"
            if memory:
                text = f"used more than its mem:{memory >> 20} MB on {sockets.gethostname()}; killed by the kernel"
            return Outcome(code, text, "memory")
        return Outcome(code, one_line(str(state.get("Error") or "")), "launch" if state.get("Error") else "")

    def _kill_if_due(self) -> None:
        """Send the signals of a kill. One that the engine does not take is sent again."""
        now = self._clock()
        if self._kill_at is None or now < self._next_kill:
            return
        late = now >= self._kill_at
        if self._term_sent and not late:
            return
        try:
            self._api().kill(self._name, signal="SIGKILL" if late else "SIGTERM")
            self._term_sent = True
        except Exception as error:
            if not (is_away(error) or is_refusal(error)):
                raise
            self._client = None
        if late or not self._term_sent:
            self._next_kill = now + RETRY_KILL_SECONDS

    def _sample_if_due(self) -> None:
        """Write down from time to time what the container uses."""
        now = self._clock()
        if now < self._sample_at:
            return
        self._next_sample = min(MAX_SAMPLE_SECONDS, 2 * self._next_sample)
        self._sample_at = now + self._next_sample
        try:
            self._used = record.usage_of(self._api().stats(self._name, stream=False, one_shot=True), self._used)
            record.write(self._folder, record.USAGE, self._used)
        except Exception as error:
            if isinstance(error, OSError):
                return  # such as a full disk
            if not (is_away(error) or is_refusal(error)):
                raise
            self._client = None

    def _remove(self) -> None:
        """Remove the container. What cannot be removed now is left to the agent."""
        until = self._clock() + REMOVE_SECONDS
        while True:
            try:
                self._state(self._name)  # not one of another launch
                self._api().remove_container(self._name, force=True, v=True)
                return
            except Exception as error:
                if status_of(error) == NOT_FOUND:
                    return
                self._client = None
                if self._clock() >= until:
                    self._log(f"the container is not removed: {reason_of(error)}")
                    record.write(self._folder, record.LEFT, True)
                    return
                self._pause(MIN_PAUSE_SECONDS)

    # -- the engine --------------------------------------------------------------------------------------

    def _api(self) -> Any:
        if self._client is None:
            self._client = self._client_of(self._socket)
        return self._client

    def _back_off(self, error: Exception) -> None:
        """Pause after a request that has failed. Raises Lost if the engine has been away for too long, and the error
        itself if it is none of the engine."""
        if not (is_away(error) or is_refusal(error)):
            raise error
        self._client = None
        now = self._clock()
        last, self._failed_at = self._failed_at, now
        if now - last >= EPISODE_SECONDS:
            self._away_since, self._pause_seconds = now, MIN_PAUSE_SECONDS
            self._log(f"the container engine at {self._socket}: {reason_of(error)}")
        elif now - self._away_since > RECONNECT_SECONDS:
            raise Lost(f"no answer of the container engine for {RECONNECT_SECONDS:g} s: {reason_of(error)}") from None
        self._pause(self._pause_seconds)
        self._pause_seconds = min(MAX_PAUSE_SECONDS, 2 * self._pause_seconds)

    @staticmethod
    def _log(text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _gpu_variables() -> list[str]:
    """The variables by which the spawner has told this process the GPUs of the task."""
    return [f"{name}={os.environ[name]}" for name in (CUDA, NVIDIA) if name in os.environ]


def run(folder: str) -> int:
    """Run the container that the request in a folder describes; its exit code."""
    try:
        container = ContainerRun(folder)
    except (TypeError, KeyError, ValueError) as error:
        print(f"the request in {folder} cannot be read: {error!r}", file=sys.stderr)
        return NO_CODE
    signal.signal(signal.SIGTERM, lambda _number, _frame: container.terminate())
    outcome = container.run()
    return NO_CODE if outcome.exit_code is None else outcome.exit_code
