"""The operator API does what /openapi.json says, whatever it is sent: schemathesis makes the requests.

A run tries a few, always the same ones; ``make fuzz`` tries others, and more of them.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given, note
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.e2e.waiting import until
from tests.fuzz.effort import count, fuzz
from tests.security.secured import Servers
from tests.security.test_principals import POLICY, TOKENS, Guarded

pytestmark = pytest.mark.servers

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
"""Not that every wrong value is refused (numbers in texts are read), nor that every right one is accepted: whether an
id or a cursor exists is not in a schema."""
WAITS = {"wait": 0.01, "seconds": 0.01}
TIMEOUT_SECONDS = 30.0
WRONG_TOKENS = ("bm1_adminaaa_" + "b" * 43, TOKENS["old"], "x", "é", "bm1__", "a" * 10_000, TOKENS["admin"] + "a")


@pytest.fixture(scope="module")
def url(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The web server of a cluster with a policy. Its agent is too small for the jobs that are made up."""
    folder = tmp_path_factory.mktemp("openapi")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    with Guarded(servers, folder, {"policy": policy}) as made:
        made.policy = policy
        made.master(cells=2).ready()
        made.agent(resources="cpus:0.1;mem:32;disk:0;ports:[]")
        made.batch()
        web = made.web()
        web._ready = True
        made.ready()
        until("the web server serves", lambda: made.as_("ann", "status").returncode == 0)
        submitted = ("submit", "--wait", "--cpus", "0.1", "--mem", "32", "--role", "eng", "--", "true")
        done = made.as_("ann", *submitted)
        assert done.returncode == 0, done.stderr
        yield web.url
        assert "Traceback" not in web.text()
        for job in made.client().jobs(active=True):
            assert made.as_("admin", "kill", job.job_id).returncode == 0


@functools.cache
def operations(url: str) -> list[Any]:
    """The operations that the server describes. They take seconds to read."""
    made = [each.ok() for each in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations()]
    assert len(made) > 10
    return made


def cases(url: str, mode: GenerationMode) -> st.SearchStrategy[Any]:
    """Requests of all operations; most of them are of the one that takes every request of the API."""
    made = operations(url)
    post = [each for each in made if each.method == "post"]
    # Some operations have no input that a schema could forbid.
    possible = [each for each in made if mode is GenerationMode.POSITIVE or each.query or each.body]
    return st.sampled_from([*possible, *post * 10]).flatmap(lambda each: each.as_strategy(generation_mode=mode))


def send(case: Any, token: str | None, **more: Any) -> requests.Response:
    count()
    if isinstance(case.body, dict):
        # What a request waits for is not what is tested here.
        case.body.update({name: short for name, short in WAITS.items() if case.body.get(name)})
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    note(f"{case.method} {case.path} {case.query} {str(case.body)[:1_000]}")
    answer = case.call(headers=headers, timeout=TIMEOUT_SECONDS, **more)
    note(f"{answer.status_code} {answer.text[:500]}")
    case.validate_response(answer, checks=CHECKS)
    return answer


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.timeout(600)
def test_answers_are_as_described(url: str, mode: GenerationMode) -> None:
    @fuzz(8)
    @given(cases(url, mode))
    def run(case: Any) -> None:
        send(case, TOKENS["admin"])

    run()


@pytest.mark.timeout(600)
def test_without_a_valid_token_the_api_answers_nothing_but_401(url: str) -> None:
    @fuzz(8)
    @given(cases(url, GenerationMode.POSITIVE), st.sampled_from((None, *WRONG_TOKENS)))
    def run(case: Any, token: str | None) -> None:
        answer = send(case, token)
        assert not case.path.startswith("/api/") or answer.status_code == 401

    run()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW"])
def test_another_method_is_refused_with_those_that_there_are(url: str, method: str) -> None:
    for path in ("/healthz", "/readyz", "/api/v1", "/api/v1/jobs", "/api/v1/jobs/x", "/api/v1/explain/x"):
        headers = {"Authorization": f"Bearer {TOKENS['admin']}"}
        answer = requests.request(method, url + path, headers=headers, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 405, path
        assert answer.headers["allow"] == ("POST" if path == "/api/v1" else "GET")


BODIES: dict[str, Callable[[random.Random], bytes]] = {
    "bytes": lambda rng: rng.randbytes(300),
    "utf-16": lambda rng: '{"type": "GET_JOBS"}'.encode("utf-16"),
    "deep": lambda rng: b'{"type": "GET_JOBS", "which": ' + b"[" * 50_000,
    "a huge number": lambda rng: b'{"type": "GET_JOBS", "limit": ' + b"9" * 100_000 + b"}",
    "a huge float": lambda rng: b'{"type": "WAIT_JOB", "job_id": "x", "seconds": 1e999}',
    "nan": lambda rng: b'{"type": "GET_JOBS", "which": {"since": NaN}}',
    "infinite": lambda rng: b'{"type": "SET_ROLES", "roles": {"eng": {"weight": Infinity}}}',
    "a lone surrogate": lambda rng: b'{"type": "EXPLAIN", "id": "\\ud800"}',
    "a lone surrogate as a key": lambda rng: b'{"type": "SET_ROLES", "roles": {"\\ud800": {}}}',
    "a zero byte": lambda rng: b'{"type": "EXPLAIN", "id": "a\\u0000b"}',
    "a repeated key": lambda rng: b'{"type": "GET_JOBS", "type": "EXPLAIN"}',
    "a type that is no text": lambda rng: b'{"type": ["GET_JOBS"]}',
    "a huge type": lambda rng: b'{"type": "' + b"x" * 900_000 + b'"}',
    "a huge key": lambda rng: b'{"type": "SET_ROLES", "roles": {"' + b"x" * 900_000 + b'": 1}}',
    "resources": lambda rng: (
        b'{"type": "RESERVE_RESOURCES", "agent_id": "x", "role": "eng", "resources": {"cpus": NaN}}'
    ),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_nobody_would_write_is_refused_in_one_short_line(url: str, kind: str) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['admin']}", "Content-Type": "application/json"}
    body = BODIES[kind](random.Random(1))
    answer = requests.post(f"{url}/api/v1", data=body, headers=headers, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 400, answer.text[:500]
    message = answer.json()["error"]["message"]
    assert "\n" not in message and len(message) < 2_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Bmesos-Timeout", "9" * 5_000),
        ("Bmesos-Timeout", "1e-400"),
        ("Bmesos-Timeout", "\xb2"),
        ("Bmesos-Cluster", "x" * 10_000),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "\xff"),
        ("Host", "evil.example"),
        ("Host", "127.0.0.1:\xb2"),
    ],
)
def test_a_header_that_nobody_would_write_is_refused(url: str, name: str, value: str) -> None:
    headers: dict[str, Any] = {
        "Authorization": f"Bearer {TOKENS['admin']}",
        "Content-Type": "application/json",
        name: value.encode("latin-1"),
    }
    answer = requests.post(f"{url}/api/v1", data=b'{"type": "GET_JOBS"}', headers=headers, timeout=TIMEOUT_SECONDS)
    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert len(answer.text) < 2_000
