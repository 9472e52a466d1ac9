"""The policy file of a daemon: read at its start, and again on SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import structlog.testing

from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.policy_file import PolicyFile, policy_file
from broker_mesos.runtime.settings import Settings


def write(path: Path, actions: str) -> None:
    path.write_text(f"[principal.ann]\nactions = [{actions}]\n")


async def test_it_is_read_again_on_sighup_and_stays_when_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write(path, '"view"')
    found = policy_file(Settings(policy=path, security="on"), ())
    assert found is not None
    try:
        for content, expected, event in (
            ('[principal.ann]\nactions = ["submit"]', ("submit",), "the policy was read again"),
            ("[principal", ("submit",), "the policy stays as it was"),
            ('[principal.ann]\nactions = ["fly"]', ("submit",), "the policy stays as it was"),
            ("\x00", ("submit",), "the policy stays as it was"),
            ('[principal.ann]\nactions = ["view"]', ("view",), "the policy was read again"),
        ):
            path.write_text(content)
            with structlog.testing.capture_logs() as logs:
                os.kill(os.getpid(), signal.SIGHUP)
                async with asyncio.timeout(90):
                    while not logs:
                        await asyncio.sleep(0)
            assert len(logs) == 1 and logs[0]["event"].startswith(event)
            assert found.policy.caller("ann").rights.actions == expected
            assert bool(found.problem) == event.startswith("the policy stays")
        path.unlink()
        with structlog.testing.capture_logs() as logs:
            found.reload()
        assert len(logs) == 1 and str(path) in logs[0]["error"] and found.problem == logs[0]["error"]
        assert found.policy.caller("ann").rights.actions == ("view",)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


def test_a_daemon_does_not_start_with_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        PolicyFile(tmp_path / "none.toml")
    path = tmp_path / "policy.toml"
    path.write_text("[")
    with pytest.raises(InvalidInput, match="is not TOML"):
        PolicyFile(path)


def test_a_policy_without_checked_senders_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write(path, '"view"')
    with pytest.raises(InvalidInput, match="a policy needs security=on"):
        policy_file(Settings(policy=path), ())
    assert policy_file(Settings(), ()) is None


def test_checked_senders_without_a_policy_are_refused() -> None:
    """Otherwise every user of the broker but agents' could send every operator request."""
    with pytest.raises(InvalidInput, match=r"security=on needs a policy, .* BMESOS_POLICY"):
        policy_file(Settings(security="on"), ())


def test_the_digest_is_of_the_content_and_not_of_the_layout(tmp_path: Path) -> None:
    path, other = tmp_path / "policy.toml", tmp_path / "other.toml"
    path.write_text('[principal.ann]\nactions = ["view"]\n[principal.bob]\nroles = ["eng"]\n')
    other.write_text('# the same\nprincipal = {bob = {roles = ["eng"]}, ann = {actions = ["view"]}}\n')
    digest = PolicyFile(path).policy.digest
    assert PolicyFile(other).policy.digest == digest and len(digest) == 12
    other.write_text('principal = {bob = {roles = ["eng"]}, ann = {actions = ["submit"]}}\n')
    assert PolicyFile(other).policy.digest != digest
