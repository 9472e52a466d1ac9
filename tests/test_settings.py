from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from broker_mesos.core.protocol.limits import Limits
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.settings import Settings, load
from broker_mesos.runtime.urls import endpoint, has_user, redact, with_user, without_user


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    import os

    for name in list(os.environ):
        if name.upper().startswith("BMESOS_"):
            monkeypatch.delenv(name)
    return tmp_path


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().offer_timeout == 10.0
    (empty_place / "bmesos.toml").write_text('offer_timeout = 20\ncluster = "lab"\n')
    assert load().offer_timeout == 20.0
    monkeypatch.setenv("BMESOS_OFFER_TIMEOUT", "30")
    assert load().offer_timeout == 30.0
    assert load(offer_timeout=40).offer_timeout == 40.0
    assert load(offer_timeout=None).offer_timeout == 30.0
    assert load().cluster == "lab"


def test_the_defaults_are_those_of_the_cell() -> None:
    settings = load()
    assert Limits(**settings.limits()) == Limits()
    assert set(settings.limits()) == {each.name for each in fields(Limits)} & set(Settings.model_fields)
    assert settings.url.get_secret_value() == "http://127.0.0.1:5050"
    assert settings.cells is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BMESOS_OFFER_TIMEOUT", "soon"),
        ("BMESOS_OFFER_TIMEOUT", "-1"),
        ("BMESOS_AGENT_BEAT", "nan"),
        ("BMESOS_AGENT_BEAT", "86401"),
        ("BMESOS_FRAMEWORK_BEAT", "86401"),
        ("BMESOS_CELLS", "0"),
        ("BMESOS_CLUSTER", "a/b"),
        ("BMESOS_BROKER_URL", "http://x:y@z"),
        ("BMESOS_BROKER_URL", "amqp://host:port/"),
        ("BMESOS_STORE_URL", "redis://"),
        ("BMESOS_URL", "127.0.0.1:5050"),
        ("BMESOS_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_variable_is_named_in_one_line(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as caught:
        load()
    assert str(caught.value).startswith(f"{variable}: ")
    assert "\n" not in str(caught.value)


def test_a_bad_flag_and_a_bad_line_of_the_file_are_named(empty_place: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^--offer-timeout: "):
        load(offer_timeout="x")
    file = empty_place / "bmesos.toml"
    file.write_text("offer_timeout = -3\n")
    with pytest.raises(InvalidInput, match=r"^bmesos\.toml:1: offer_timeout: "):
        load()
    file.write_text("ofer_timeout = 3\n")
    with pytest.raises(InvalidInput, match="unknown setting 'ofer_timeout'; did you mean 'offer_timeout'"):
        load()
    file.write_text("offer_timeout = \n")
    with pytest.raises(InvalidInput, match=r"bmesos\.toml is not TOML"):
        load()
    with pytest.raises(InvalidInput, match="no such settings file"):
        load(Path("absent.toml"))


def test_a_secret_comes_from_the_file_that_a_variable_names(empty_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = empty_place / "secret"
    secret.write_text("amqps://me:hush@broker:5671/\n")
    (empty_place / "bmesos.toml").write_text('broker_url = "amqp://other/"\n')
    monkeypatch.setenv("BMESOS_BROKER_URL_FILE", str(secret))
    settings = load()
    assert settings.need_broker() == "amqps://me:hush@broker:5671/"
    assert "hush" not in repr(settings) and "hush" not in str(settings)
    secret.write_text("amqp:/hush")
    with pytest.raises(InvalidInput, match=r"^BMESOS_BROKER_URL_FILE: ") as caught:
        load()
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("BMESOS_BROKER_URL_FILE", str(empty_place / "absent"))
    with pytest.raises(InvalidInput, match=r"BMESOS_BROKER_URL_FILE: cannot read .*absent: No such file"):
        load()
    monkeypatch.setenv("BMESOS_BROKER_URL", "amqp://b/")
    with pytest.raises(InvalidInput, match="keep one"):
        load()


def test_what_is_needed_and_missing_is_an_error_with_the_next_step() -> None:
    with pytest.raises(InvalidInput, match="BMESOS_BROKER_URL"):
        load().need_broker()
    with pytest.raises(InvalidInput, match="BMESOS_STORE_URL"):
        load().need_store()


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("amqps://enroll:pw@rabbit.example/lab", "https://rabbit.example:15671"),
        ("amqps://enroll:pw@rabbit.example:6671", "https://rabbit.example:15671"),
        ("amqp://127.0.0.1:5673/", "http://127.0.0.1:15672"),
        ("amqp://[::1]:5673/", "http://[::1]:15672"),
    ],
)
def test_the_management_api_is_on_the_host_of_the_broker(broker: str, url: str) -> None:
    assert load(broker_url=broker).need_management() == url
    assert load(broker_url=broker, management_url="https://other:1").need_management() == "https://other:1"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"security": "off"}, "enroll_url needs security=on"),
        ({"broker_url": "amqp://me:pw@127.0.0.1/"}, "broker_url has a user, and enroll_url is set"),
        ({"broker_url": None}, "no broker is named"),
        ({"enroll_url": "http://enroll.example:5055"}, "enroll_url: http:// to enroll.example:5055 is not encrypted"),
        ({"enroll_url": "ftp://x"}, "write it as https://enroll.example:5055"),
        ({"management_url": "amqp://x"}, "write it as https://rabbitmq.example:15671"),
    ],
)
def test_settings_that_do_not_go_with_enrolment_are_refused(flags: dict[str, object], reason: str) -> None:
    good: dict[str, object] = {
        "security": "on",
        "broker_url": "amqp://127.0.0.1/",
        "enroll_url": "https://enroll.example:5055",
    }
    assert load(**good).need_enrolment() == "https://enroll.example:5055"
    with pytest.raises(InvalidInput) as refused:
        load(**good | flags).need_enrolment()
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_a_user_is_put_into_a_url_and_taken_out_of_it() -> None:
    for url in ("amqp://host", "amqps://host:5671/lab%2Fx", "http://[::1]:5/"):
        assert not has_user(url)
        assert has_user(with_user(url, "agent-1", "pw")) and without_user(with_user(url, "agent-1", "pw")) == url
    assert with_user("amqp://host:5672/", "agent-1", "pw") == "amqp://agent-1:pw@host:5672/"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://me:hush@host:1/v", "amqp://me:***@host:1/v"),
        ("redis://:hu@sh/x@host:1/0", "redis://:***@host:1/0"),
        ("redis://host/0?password=hush&db=1", "redis://host/0?password=***"),
        ("redis://host/0?db=1&password=hu&s#h", "redis://host/0?db=1&password=***"),
        ("http://127.0.0.1:5050", "http://127.0.0.1:5050"),
        ("nonsense", "nonsense"),
        ("amqp://us@r:p@ss/w:o@host/", "amqp://***@host/"),
        ("amqp://me:hu#sh@host/", "amqp://me:***@host/"),
        ("amqp://tok/en@host/", "amqp://***@host/"),
        ("amqp://me@host/", "amqp://me@host/"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "amqp://me:hu#sh@host/",
        "amqp://me:hu/sh@host/",
        "amqp://me:hu?sh@host/",
        "amqp://me:hu[sh@host/",
        "amqp://me:hush@host:port/",
        "amqp://me:hush@host:99999/",
        "amqp://me:hush@host:0/",
        "amqp://us@r:hu/sh:o@host:5672/",
    ],
)
def test_a_url_that_is_not_percent_encoded_is_refused_with_that_advice(url: str, empty_place: Path) -> None:
    with pytest.raises(InvalidInput, match="%23") as caught:
        load(broker_url=url)
    assert "hu" not in str(caught.value) and "us@r" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["amqp://", "amqp:///vhost", "redis://host", "host:5672", "amqp:host", "amqp://ho st/", ""]
)
def test_what_is_no_url_of_a_broker_is_refused_in_one_line(url: str, empty_place: Path) -> None:
    with pytest.raises(InvalidInput, match="amqp://user:password@host:5672/") as caught:
        load(broker_url=url)
    assert "\n" not in str(caught.value)


def test_a_url_may_have_blanks_around_it_and_a_scheme_in_capitals(empty_place: Path) -> None:
    assert load(broker_url=" AMQPS://me:Hush@Host:5672/V\n").need_broker() == "amqps://me:Hush@Host:5672/V"


def test_an_endpoint_is_host_and_port() -> None:
    assert endpoint("amqp://me:x@rabbit/") == "rabbit:5672"
    assert endpoint("http://[::1]:5050/") == "[::1]:5050"


def test_weights_of_roles_are_read_from_text(monkeypatch: pytest.MonkeyPatch, empty_place: Path) -> None:
    monkeypatch.setenv("BMESOS_WEIGHTS", "prod:2;eng/db:0.5")
    assert load().weights == {"prod": 2.0, "eng/db": 0.5}


@pytest.mark.parametrize("text", ["prod", "prod:x", "prod:0", "prod:-1", "prod:nan", ":2"])
def test_a_bad_weight_is_refused_in_one_line(text: str, empty_place: Path) -> None:
    with pytest.raises(InvalidInput, match="--weights"):
        load(weights=text)
