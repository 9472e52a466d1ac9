"""What an enrolment server answers over HTTP, whatever it is sent."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.api.enrolment import Enrolled, Enrolment
from broker_mesos.enroll.app import build_app, parse_enrolment
from broker_mesos.enroll.service import TooManyAttempts
from broker_mesos.errors import BrokerMesosError, Conflict, Denied, InvalidInput, Unavailable

PASSWORD = "p" * 43


class Answers:
    """Answers every enrolment in one way."""

    def __init__(self, error: BrokerMesosError | None = None) -> None:
        self.error = error
        self.asked: list[tuple[Enrolment, str]] = []

    async def enroll(self, enrolment: Enrolment, address: str) -> Enrolled:
        self.asked.append((enrolment, address))
        if self.error is not None:
            raise self.error
        return Enrolled(id=enrolment.id)


async def post(answers: Answers, content: bytes, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(build_app(answers, ("127.0.0.1",)), client=("10.0.0.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5055") as client:
        return await client.post("/enroll", content=content, headers={"content-type": "application/json", **headers})


def body(**change: object) -> bytes:
    return json.dumps({"id": "agent-1", "password": PASSWORD, "join_token": "t", **change}).encode()


async def test_an_answer_has_no_secret_and_the_address_is_that_of_the_connection() -> None:
    answers = Answers()
    answer = await post(answers, body(), **{"x-forwarded-for": "1.2.3.4"})
    assert answer.json() == {"type": "ANSWER", "data": {"id": "agent-1", "renewed": False}}
    ((enrolment, address),) = answers.asked
    assert address == "10.0.0.7" and enrolment.password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(enrolment) and PASSWORD not in str(enrolment.model_dump())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Denied("no"), 403, "denied"),
        (Conflict("other"), 409, "conflict"),
        (Unavailable("down"), 503, "unavailable"),
        (InvalidInput("bad"), 400, "invalid"),
        (TooManyAttempts(12.3), 429, "unavailable"),
    ],
)
async def test_an_error_has_its_status_and_its_code(error: BrokerMesosError, status: int, code: str) -> None:
    answer = await post(Answers(error), body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("retry-after") == ("13" if status == 429 else None)


async def test_only_bounded_json_for_this_server_is_taken() -> None:
    answers = Answers()
    assert (await post(answers, b" " * 4_097)).status_code == 413
    assert (await post(answers, body(), **{"content-type": "text/plain"})).status_code == 415
    assert (await post(answers, body(), host="evil.example")).status_code == 403
    for content in (b"", b"[", b"[1]", b"null", b"[" * 4_000, b"\xff", body(more=1)):
        assert (await post(answers, content)).status_code == 400
    assert answers.asked == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = st.dictionaries(st.sampled_from(["id", "password", "join_token", "other"]), JSON)


@given(st.binary() | FIELDS.map(lambda found: json.dumps(found).encode()))
def test_any_body_is_an_enrolment_or_one_line(content: bytes) -> None:
    found = ""
    try:
        parse_enrolment(content).check()
    except InvalidInput as error:
        found = str(error)
    assert len(found.splitlines()) <= 1
