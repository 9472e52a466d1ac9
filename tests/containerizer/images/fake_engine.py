"""An engine that fails at any request: before it has done what is asked, or after that, without an answer."""

from __future__ import annotations

from typing import Any

from docker.errors import APIError
from requests import ConnectionError as ConnectionLost
from requests import Response

NEVER = "0001-01-01T00:00:00Z"


class FakeEngine:
    """Its containers, and how often the program of each was started. ``faults`` maps the number of a request to
    ``before``, ``after``, or ``restart``: the engine then also ends what runs, as one without live-restore does. A
    program ends after ``steps`` waits with ``code``, or at a SIGTERM or SIGKILL that it gets."""

    def __init__(self, faults: dict[int, str], *, steps: int = 1, code: int = 5, away: int = 0) -> None:
        self.faults = faults
        self.steps = steps
        self.code = code
        self.away = away
        self.requests = 0
        self.containers: dict[str, dict[str, Any]] = {}
        self.starts: list[str] = []
        self.removed: list[str] = []
        self.signals: list[str] = []

    def client(self, _socket: str, _timeout: float | None = None) -> FakeEngine:
        return self

    def close(self) -> None:
        pass

    def _request(self, apply: Any) -> Any:
        number, self.requests = self.requests, self.requests + 1
        if self.away:
            self.away -= 1
            raise ConnectionLost("away")
        fault = self.faults.get(number, "")
        if fault == "before":
            raise ConnectionLost("reset")
        found = apply()
        if fault == "restart":
            for each in self.containers.values():
                if each["State"]["Running"]:
                    each["State"].update(Running=False, ExitCode=143)
        if fault:
            raise ConnectionLost("reset")
        return found

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self.containers:
            raise refused(404, f"No such container: {name}")
        return self.containers[name]

    def inspect_container(self, name: str) -> dict[str, Any]:
        return self._request(lambda: self._found(name))  # type: ignore[no-any-return]

    def create_container_from_config(self, config: dict[str, Any], name: str) -> None:
        def apply() -> None:
            if name in self.containers:
                raise refused(409, "the name is in use")
            state = {"Running": False, "StartedAt": NEVER, "ExitCode": 0, "OOMKilled": False}
            self.containers[name] = {"Id": name, "Config": config, "State": state}

        self._request(apply)

    def start(self, name: str) -> None:
        def apply() -> None:
            state = self._found(name)["State"]
            if not state["Running"]:
                self.starts.append(name)
                state.update(Running=True, StartedAt="2026-01-01T00:00:00Z")

        self._request(apply)

    def wait(self, name: str) -> None:
        def apply() -> None:
            state = self._found(name)["State"]
            self.steps -= 1
            if self.steps > 0 and state["Running"]:
                raise ConnectionLost("the answer takes too long")
            if state["Running"]:
                state.update(Running=False, ExitCode=self.code)

        self._request(apply)

    def kill(self, name: str, signal: str) -> None:
        def apply() -> None:
            state = self._found(name)["State"]
            if not state["Running"]:
                raise refused(409, "it does not run")
            self.signals.append(signal)
            state.update(Running=False, ExitCode=143 if signal == "SIGTERM" else 137)

        self._request(apply)

    def stats(self, name: str, **_: object) -> dict[str, Any]:
        return {"cpu_stats": {"cpu_usage": {"total_usage": 1}}, "memory_stats": {"usage": 2}}

    def remove_container(self, name: str, **_: object) -> None:
        def apply() -> None:
            self._found(name)
            del self.containers[name]
            self.removed.append(name)

        self._request(apply)


def refused(status: int, text: str) -> APIError:
    """A refusal of an engine."""
    response = Response()
    response.status_code = status
    return APIError(text, response=response, explanation=text)
