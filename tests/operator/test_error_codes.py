"""An error arrives as what it was, over the bus and over HTTP, with one code, status and exit code."""

from __future__ import annotations

import json

import pytest

from broker_mesos import errors
from broker_mesos.bus.rabbitmq.server import Refused
from broker_mesos.client.http import HttpTransport
from broker_mesos.client.transport import Unreachable
from broker_mesos.core.api.request import ErrorInfo
from broker_mesos.errors import BrokerMesosError, TimedOut, family
from broker_mesos.web.app import error_response

TREE = [kind for kind in family() if kind.__module__ == errors.__name__]
EXIT_CODES = {"failed": 1, "invalid": 2, "not_found": 3, "conflict": 1, "unavailable": 4, "timed_out": 4, "denied": 5}
STATUSES = {
    "failed": 500,
    "invalid": 400,
    "not_found": 404,
    "conflict": 409,
    "unavailable": 503,
    "timed_out": 504,
    "denied": 403,
}


def over_the_bus(error: BrokerMesosError) -> BrokerMesosError:
    return ErrorInfo.model_validate_json(ErrorInfo.of(error).encode()).exception()


def over_http(error: BrokerMesosError) -> BrokerMesosError:
    answer = error_response(error)
    transport = HttpTransport("127.0.0.1", 1, "")
    with pytest.raises(BrokerMesosError) as caught:
        transport._decode(answer.status_code, bytes(answer.body))
    return caught.value


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_code_over_the_bus_and_over_http(kind: type[BrokerMesosError]) -> None:
    error = kind("what is wrong")
    for arrived in (over_the_bus(error), over_http(error)):
        assert str(arrived) == str(error)
        assert arrived.error_code == error.error_code and isinstance(error, type(arrived))
        assert (arrived.http_status, arrived.exit_code) == (error.http_status, error.exit_code)


@pytest.mark.parametrize("code", errors.BY_CODE)
def test_every_code_has_one_status_and_one_exit_code(code: str) -> None:
    kind = errors.BY_CODE[code]
    assert (kind.error_code, kind.http_status, kind.exit_code) == (code, STATUSES[code], EXIT_CODES[code])
    answer = error_response(kind("what is wrong"))
    assert answer.status_code == STATUSES[code] and json.loads(bytes(answer.body))["error"]["code"] == code


def test_the_tree_in_the_documentation_has_every_class_and_code() -> None:
    drawn = errors.__doc__ or ""
    for code, kind in errors.BY_CODE.items():
        (line,) = [each for each in drawn.splitlines() if f" {code} " in each]
        assert f"{kind.__name__} " in line and f"HTTP {kind.http_status}" in line and f"exit {kind.exit_code}" in line


def test_a_code_of_a_newer_release_is_a_failure_with_its_message() -> None:
    arrived = ErrorInfo(code="forbidden", message="ask somebody").exception()
    assert type(arrived) is BrokerMesosError and str(arrived) == "ask somebody"


def test_errors_of_the_adapters_and_of_the_client_are_in_the_tree() -> None:
    assert {Refused, Unreachable} <= set(family())
    assert over_the_bus(Unreachable("nothing listens")).error_code == "unavailable"


def test_a_time_limit_over_the_bus_stays_one() -> None:
    assert isinstance(over_the_bus(TimedOut("no answer within 5 s")), TimedOut)
