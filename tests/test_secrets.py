"""Passwords: 300 random ones, with every kind of character, go everywhere that a password could come out of."""

from __future__ import annotations

import asyncio
import json
import os
import random
import string
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from broker_mesos.cli import main
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.errors import BrokerMesosError
from broker_mesos.ports.containerizer import ContainerEvent, LaunchSpec, TaskExited
from broker_mesos.runtime import secrets
from broker_mesos.runtime.settings import SECRETS, TOKENS, load
from broker_mesos.runtime.settings import show as shown_settings
from broker_mesos.runtime.urls import passwords, redact

Captured = pytest.CaptureFixture[str]

WINDOW = 6
"""Characters of a secret that make a leak: random ones, which no other text has."""
OTHERS = "äßéøжщ中文🔑\u202e\xa0\x01\x1b\x7f"
LETTERS = string.ascii_letters + string.digits


def random_secrets(count: int) -> list[str]:
    """Secrets that begin and end with letters and digits; each character of ASCII that is printed is in one of them."""
    rng = random.Random(20)
    pool = string.printable.strip() + OTHERS
    found = []
    for number in range(count):
        inner = [pool[number % len(pool)], *rng.choices(pool, k=rng.randint(0, 8))]
        ends = ["".join(rng.choices(LETTERS, k=WINDOW)) for _ in range(2)]
        found.append(ends[0] + "".join(inner) + ends[1])
    return found


SOME = random_secrets(300)


def encoded(secret: str) -> str:
    return quote(secret, safe="")


def leaks(text: str, known: Iterable[str]) -> list[str]:
    """The secrets of which a part is in a text, in whatever form: their ends are in each."""
    return [secret for secret in known if secret[:WINDOW] in text or secret[-WINDOW:] in text]


def url_of(number: int, secret: str) -> tuple[str, str]:
    """A setting, and a value of it with this secret."""
    tls = number % 50 < 5  # each TLS context takes long to make
    if number % 20 == 19:
        return ("enroll_url", "management_url")[number // 20 % 2], f"https://me:{encoded(secret)}@127.0.0.1:1"
    forms = (
        ("broker_url", f"amqp{'s' * tls}://me:{encoded(secret)}@127.0.0.1:1/"),
        ("broker_url", f"amqp://me:{encoded(secret)}@127.0.0.1:1/vhost"),
        ("store_url", f"redis://:{encoded(secret)}@127.0.0.1:1/0"),
        ("store_url", f"rediss://me:{encoded(secret)}@127.0.0.1:1/0"),
        ("url", f"amqp://me:{encoded(secret)}@127.0.0.1:1/"),
    )
    return forms[number % len(forms)]


def odd_url_of(number: int, secret: str) -> tuple[str, str]:
    """The same for whoever does not encode it, or writes it in the wrong place: mostly no URL at all."""
    forms = (
        ("broker_url", f"amqp://me:{secret}@127.0.0.1:1/"),
        ("store_url", f"redis://:{secret}@127.0.0.1:1/0"),
        ("broker_url", f"amqp:/me:{secret}@127.0.0.1:1/"),
        # With an @ in it, its end would be a host.
        ("store_url", f"redis://127.0.0.1:{secret.replace('@', '.')}/0"),
        ("store_url", f"redis://127.0.0.1:1/0?password={secret}"),
        ("broker_url", f"me:{secret}@127.0.0.1"),
        ("url", secret),
    )
    return forms[number % len(forms)]


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder and no settings; the process forgets its secrets, so that each test shows what it alone does."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("BMESOS_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(secrets, "_known", set())
    return tmp_path


@pytest.fixture
def no_second_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are not searched for secrets: none may be in them to begin with."""
    for module in ("broker_mesos.runtime.secrets", "broker_mesos.runtime.log_stream"):
        monkeypatch.setattr(f"{module}.masked", lambda text: text)


def test_the_secrets_have_every_character_and_leaks_are_found() -> None:
    assert set(string.printable.strip() + OTHERS) <= set("".join(SOME))
    assert len({secret[:WINDOW] for secret in SOME} | {secret[-WINDOW:] for secret in SOME}) == 600
    for secret in SOME:
        for form in (secret, encoded(secret), repr(secret), json.dumps(secret)):
            assert leaks(f"a line with {form}.", SOME) == [secret]


@pytest.mark.slow
def test_no_secret_is_shown_by_the_settings_however_it_was_given(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, no_second_net: None
) -> None:
    file, toml = empty_place / "secret", empty_place / "bmesos.toml"
    for number, secret in enumerate(SOME):
        name, url = url_of(number, secret)
        variable = f"BMESOS_{name.upper()}"
        way = number // 5 % 3
        with monkeypatch.context() as here:
            if way == 0:
                here.setenv(variable, url)
            elif way == 1:
                file.write_text(f"{url}\n", encoding="utf-8")
                here.setenv(f"{variable}_FILE", str(file))
            else:
                toml.write_text(f"{name} = {json.dumps(url)}\n", encoding="utf-8")
            settings = load()
            assert unquote(getattr(settings, name).get_secret_value()).count(secret) >= 1
            texts = [repr(settings), str(settings), settings.model_dump_json(), repr(shown_settings())]
            words = (["show", "--origin"], ["show", "-o", "json"], ["check"])[number % 3]
            assert main(["config", *words]) == 0
            captured = capsys.readouterr()
            assert ("***" in captured.out) is (words != ["check"])
            assert leaks("".join([*texts, captured.out, captured.err]), [secret]) == [], (name, url, way)
            toml.unlink(missing_ok=True)


@pytest.mark.slow
def test_no_secret_is_in_an_error_about_settings(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, no_second_net: None
) -> None:
    refused = 0
    file = empty_place / "secret"
    monkeypatch.setenv("BMESOS_DEBUG", "1")  # tracebacks, too
    for number, secret in enumerate(SOME * 2):
        name, url = odd_url_of(number, secret)
        with monkeypatch.context() as here:
            if number % 2:
                here.setenv(f"BMESOS_{name.upper()}", url)
            else:
                file.write_text(url, encoding="utf-8")
                here.setenv(f"BMESOS_{name.upper()}_FILE", str(file))
            refused += main(["config", "show" if number < 300 else "check"]) != 0
            captured = capsys.readouterr()
            assert leaks(captured.out + captured.err, [secret]) == [], (name, url)
    assert refused > 300


def test_a_password_on_the_command_line_is_refused_and_the_file_is_named(capsys: Captured, no_second_net: None) -> None:
    commands = {
        "broker_url": (["master"], ["agent"], ["web"], ["framework", "batch"], ["simulate", "agents"]),
        "store_url": (["master"], ["framework", "batch"]),
        "url": (["status"], ["config", "show"], ["submit"], ["agents"]),
        "enroll_url": (["agent"],),
        "management_url": (["enroll-server"],),
    }
    # A token has no flag.
    assert commands.keys() == set(SECRETS) - set(TOKENS)
    for number, secret in enumerate(SOME):
        name, url = url_of(number, secret)
        flag, choices = f"--{name.replace('_', '-')}", commands[name]
        words = [*choices[number % len(choices)], *([flag, url] if number % 2 else [f"{flag}={url}"])]
        if name == "url" and number % 4 == 0:
            words = [flag, url, *choices[0]]
        assert main(words) == 2, words
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith(f"bmesos: {flag} has a password") and f"BMESOS_{name.upper()}_FILE" in line
        assert leaks(captured.out + line, [secret]) == []


@pytest.mark.parametrize("url", ["amqp://127.0.0.1:1/", "amqp://me@127.0.0.1:1/", "redis://127.0.0.1:1/0"])
def test_a_url_without_a_password_may_be_a_flag(url: str, capsys: Captured) -> None:
    name = "broker-url" if url.startswith("amqp") else "store-url"
    assert main(["framework", "batch", f"--{name}", url]) == 2
    assert "password, and every user" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_word_of_the_command_line_is_not_repeated_with_its_password(capsys: Captured) -> None:
    for number, secret in enumerate(SOME):
        name, url = url_of(number, secret)
        odd = odd_url_of(number, secret)[1]
        for word in (url, odd) if "://" in odd and "@" in odd else (url,):
            words = (["status", word], [word], ["submit", word], ["kill", "--state", word, "x"])[number % 4]
            assert main(words) != 0
        captured = capsys.readouterr()
        assert leaks(captured.out + captured.err, [secret]) == [], (name, url, odd)


async def _error_of(work: object) -> str:
    try:
        await work  # type: ignore[misc]
    except BrokerMesosError as error:
        return f"{error} {error!r} {error.args}"
    raise AssertionError("it did not fail")


async def test_no_secret_is_in_an_error_about_a_server(no_second_net: None) -> None:
    from broker_mesos.bus.open import CLOCK, open_bus
    from broker_mesos.store.redis.store import RedisStore

    found = []
    for number, secret in enumerate(SOME):
        name, url = url_of(number, secret)
        for each in (url, odd_url_of(number, secret)[1]):
            try:
                if name == "store_url":
                    server: object = RedisStore(each, cluster="c", clock=CLOCK)
                else:
                    server = open_bus(each, name="secrets")
            except BrokerMesosError as error:
                found.append(f"{error} {error!r}")
                continue
            found.append(f"{server} {server!r}")
            if each == url and number < 60:
                found.append(await _error_of(server.open(0.01)))  # type: ignore[attr-defined]
                await server.close()  # type: ignore[attr-defined]
    assert len(found) > 600
    assert leaks("\n".join(found), SOME) == []


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_in_logs_tracebacks_and_dumps_of_a_process_with_careless_libraries(
    log_format: str, empty_place: Path
) -> None:
    urls = [
        url
        for name, url in (url_of(number, secret) for number, secret in enumerate(SOME))
        if name in ("broker_url", "store_url")
    ]
    urls += [f"amqp://me:{encoded(secret)}@127.0.0.1:1/" for number, secret in enumerate(SOME) if number % 5 == 4]
    (empty_place / "urls").write_text("\n".join(urls), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.secrets_probe", "urls", log_format],
        cwd=empty_place,
        env=dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0 and done.stderr.endswith("done\n"), done.stderr[-2000:]
    # What a dump and a traceback are good for is there.
    assert done.stderr.count("secrets_probe.py") > 3 * len(urls) and done.stderr.count("***") > 5 * len(urls)
    assert leaks(done.stdout + done.stderr, SOME) == []


async def test_children_get_no_secret_in_their_command_line_and_environment(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMESOS_BROKER_URL", f"amqp://me:{'+'.join(encoded(each) for each in SOME)}@127.0.0.1:1/")
    monkeypatch.setenv("BMESOS_STORE_URL", f"redis://:{'+'.join(encoded(each) for each in SOME)}@127.0.0.1:1/0")
    assert len(leaks(os.environ["BMESOS_BROKER_URL"], SOME)) == len(SOME)
    exited = asyncio.Event()

    def on_events(events: Iterable[ContainerEvent]) -> None:
        if any(isinstance(event, TaskExited) for event in events):
            exited.set()

    containerizer = ProcessContainerizer(empty_place / "work", on_events)
    await containerizer.start()
    try:
        own = Path(f"/proc/{containerizer.spawner_pid}")
        seen = [(own / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
        script = "cat /proc/self/cmdline /proc/self/environ /proc/$PPID/cmdline; env"
        containerizer.launch(LaunchSpec(task_id="t1", argv=(script,), shell=True, env={}, kill_grace=1.0))
        async with asyncio.timeout(90):
            await exited.wait()
        output = next((empty_place / "work").rglob("stdout")).read_text(errors="replace")
    finally:
        await containerizer.stop(kill_tasks=True)
    assert "spawner_main" in seen[0] and "BMESOS_SANDBOX" in output
    assert leaks("".join([*seen, output]), SOME) == []


def test_a_traceback_on_demand_has_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("BMESOS_DEBUG", "1")
    for number, secret in enumerate(SOME[:60]):
        name, url = url_of(number, secret)

        def fail(*arguments: object, url: str = url, **more: object) -> None:
            load()
            raise RuntimeError(f"no answer from {url} or {unquote(url)!r}")

        with monkeypatch.context() as here:
            here.setenv(f"BMESOS_{name.upper()}", url)
            here.setattr("broker_mesos.client.jobs.connect", fail)
            assert main(["status"]) == 1
        captured = capsys.readouterr()
        assert "Traceback" in captured.err and "no answer from" in captured.err
        assert leaks(captured.out + captured.err, [secret]) == []


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("amqp://me:hush@host/", ["hush"]),
        ("amqp://me:h%40sh@host/", ["h%40sh", "h@sh"]),
        ("redis://:hush@host/0?ssl_password=more", ["hush", "more"]),
        ("redis://host/0?password=more&db=0", ["more&db=0", "more", "0"]),
        ("amqp://host/?ssl_options=%7B%27password%27%3A+%27hush%27%7D", None),
        ("amqp://me@host/", []),
        ("amqp://host/", []),
        ("http://host/?a=b&password=", []),
        ("nonsense", []),
    ],
)
def test_the_passwords_of_a_url_are_found(url: str, found: list[str] | None) -> None:
    if found is None:  # a whole parameter is hidden
        assert "hush" not in redact(url) and any("hush" in each for each in passwords(url))
    else:
        assert passwords(url) == found


def test_a_short_password_is_not_searched_for_in_texts() -> None:
    secrets.remember("amqp://guest:guest@host/")
    secrets.remember("amqp://me:long-enough@host/")
    assert secrets.masked("a guest with long-enough") == "a guest with ***"
