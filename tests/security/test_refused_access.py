"""Who has no right, or whose file of rights cannot be used, is told so in one line, with the documented exit code."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.security.secured import POLICY, SecuredCluster

pytestmark = pytest.mark.servers


def one_line(done: CompletedProcess[str], code: int, *words: str) -> None:
    """Check the exit code, and that the last line of stderr has these words; daemons log lines before it."""
    assert done.returncode == code, (done.stdout, done.stderr)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("bmesos: ") and "Traceback" not in done.stderr
    assert [word for word in words if word not in last] == [], last


def test_an_unknown_principal_is_denied(secured: SecuredCluster) -> None:
    for name in ("bob", "f1"):  # they have users on the broker, and no entry in the policy
        done = secured.cli("status", url=secured.servers.amqp_url(name))
        one_line(done, 5, f"'{name}' has no right to view", "bmesos whoami")
        assert done.stderr.count("\n") == 1
        shown = secured.cli("whoami", url=secured.servers.amqp_url(name))
        assert shown.returncode == 0 and f"name:     {name}\nactions:  none\nroles:    none\n" == shown.stdout


@pytest.mark.parametrize("token", ["", "x", "bm1_ann00000_" + "b" * 43, "bm1_nobody00_" + "a" * 43])
def test_a_wrong_token_is_denied(secured: SecuredCluster, token: str) -> None:
    (web,) = secured.of("web")
    done = secured.cli("status", url=web.url, env={"BMESOS_TOKEN": token})
    one_line(done, 5, "token", "BMESOS_TOKEN")
    assert done.stderr.count("\n") == 1 and (not token or token not in done.stderr)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot read the policy", "No such file")),
        ("[principal", ("is not TOML",)),
        ("\xff", ("is not TOML",)),
        ('[principal.ann]\nactions = ["fly"]', ("there is no action 'fly'",)),
        ('[principal."a b"]\n', ("user 'a b'",)),
        ("[principle.ann]\n", ("principle",)),
        (POLICY.replace("2100-01-01T00:00:00Z", '"soon"'), ("expires",)),
    ],
    ids=["none", "no-toml", "no-utf8", "unknown-action", "no-name", "unknown-field", "no-time"],
)
def test_no_daemon_starts_with_a_policy_that_cannot_be_used(
    secured: SecuredCluster, tmp_path: Path, content: str | None, words: tuple[str, ...]
) -> None:
    path = tmp_path / "policy.toml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    # All daemons read it by the same function, before they connect.
    done = secured.cli("web", "--port", "0", env={"BMESOS_POLICY": str(path)})
    one_line(done, 2, str(path), *words)
    checked = secured.cli("policy", "check", str(path))
    one_line(checked, 2, str(path), *words)


@pytest.mark.parametrize("words", [("master",), ("framework", "batch"), ("web", "--port", "0")], ids=lambda w: w[0])
def test_no_daemon_that_decides_starts_without_a_policy(secured: SecuredCluster, words: tuple[str, ...]) -> None:
    done = secured.cli(
        *words, env={"BMESOS_POLICY": "", "BMESOS_STORE_URL": secured.servers.redis_url("bmesos-lab-master")}
    )
    one_line(done, 2, "security=on needs a policy", "BMESOS_POLICY")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("user", "words"),
    [("ann", ("web", "--port", "0")), ("f1", ("master",)), ("web", ("framework", "batch"))],
    ids=["web", "master", "batch"],
)
def test_a_daemon_with_the_user_of_somebody_else_does_not_start(
    secured: SecuredCluster, user: str, words: tuple[str, ...]
) -> None:
    """A web server with the user of a person would do everything in her name."""
    store = "batch" if "batch" in words else "master"
    env = {
        "BMESOS_BROKER_URL": secured.servers.amqp_url(user),
        "BMESOS_STORE_URL": secured.servers.redis_url(f"bmesos-lab-{store}"),
    }
    one_line(secured.cli(*words, env=env), 2, f"the broker's user '{user}'", "with security on")


def test_a_broker_without_the_rights_is_one_line(secured: SecuredCluster) -> None:
    """As after definitions of which a part was forgotten."""
    ctl = secured.servers.rabbitmq.ctl
    ctl("add_vhost", "bare")
    url = secured.servers.amqp_url("master") + "bare"
    env = {
        "BMESOS_BROKER_URL": url,
        "BMESOS_STORE_URL": secured.servers.redis_url("bmesos-lab-master"),
        "BMESOS_CONNECT_TIMEOUT": "3",
    }
    try:
        one_line(secured.cli("master", env=env), 4, "the user 'master' may not use it", "set_permissions")
        ctl("set_permissions", "-p", "bare", "master", "^$", "^$", "^$")
        one_line(
            secured.cli("master", env=env), 4, "the user 'master' may not declare them", "its user needs the rights"
        )
    finally:
        ctl("delete_vhost", "bare")


def test_a_wrong_password_is_one_line(secured: SecuredCluster) -> None:
    url = secured.servers.amqp_url("ann").replace(":", ":wrong", 2).replace("amqp:wrong", "amqp:", 1)
    done = secured.cli("status", url=url)
    one_line(done, 4, "refused the user 'ann'", "check user and password")
    assert secured.servers.password("rabbitmq-ann") not in done.stderr
