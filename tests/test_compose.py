"""What docker-compose.yml promises about every container, without an engine. `make staging-test` runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
CAPABILITIES = {
    "bootstrap": {"CHOWN", "DAC_OVERRIDE", "FOWNER"},
    **{name: {"CHOWN", "KILL", "SETGID", "SETUID"} for name in ("agent-r1", "agent-r2", "agent-r3", "agent")},
}
"""What a service may do beyond the rights of its user, written out a second time."""


def volumes(service: str) -> dict[str, str]:
    """The named volumes of a service by name, each with its mode."""
    found = {}
    for entry in SERVICES[service].get("volumes", []):
        name, _, rest = str(entry).partition(":")
        if name in FILE["volumes"]:
            found[name] = rest.partition(":")[2]
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_more_rights_than_it_needs_and_limits(service: str) -> None:
    made = SERVICES[service]
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"] and set(made.get("cap_add", [])) == CAPABILITIES.get(service, set())
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert not made.get("privileged") and made.get("network_mode", "none") == "none"
    assert made["mem_limit"] and made["cpus"] and made["ulimits"]["nofile"]
    assert made["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert made["stop_signal"] == "SIGTERM"
    if service != "bootstrap":
        assert made["restart"] == "unless-stopped"
        assert made["healthcheck"]["test"]
        assert made["depends_on"]["bootstrap"] == {"condition": "service_completed_successfully"}


def test_nobody_has_the_secrets_of_another_service() -> None:
    for service in SERVICES:
        own = {f"conf-{service}", f"{service}-data"}
        if service != "bootstrap":
            shared = {"policy"} if "BMESOS_POLICY" in SERVICES[service].get("environment", {}) else set()
            assert set(volumes(service)) <= own | shared, service
            read_only = {name for name, mode in volumes(service).items() if mode == "ro"}
            assert read_only == set(volumes(service)) - {f"{service}-data"}
    assert {name for name in FILE["volumes"] if not name.endswith("-data")} == set(volumes("bootstrap"))


def test_only_the_web_servers_can_be_reached_and_only_from_this_machine() -> None:
    assert {name for name, each in SERVICES.items() if "ports" in each} == {"web"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["web"]["ports"])
    assert {name for name, each in SERVICES.items() if "store" in each.get("networks", [])} == {
        "redis",
        "master",
        "batch",
    }
    assert FILE["networks"]["store"] == {"internal": True}


def test_replicas_of_agents_share_no_work_folder() -> None:
    for name, service in SERVICES.items():
        if name.startswith("agent"):
            assert "/var/lib/bmesos" in service["volumes"]


def test_no_secret_is_in_the_file_and_servers_take_no_plaintext() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"amqp://|redis://|http://|://[^\s/:]+:[^\s/@]+@", text)
    folder = ROOT / "deploy" / "compose"
    rabbitmq = (folder / "rabbitmq.conf").read_text().splitlines()
    # Without the second one a restart brings back the users of agents that are gone.
    assert {"listeners.tcp = none", "definitions.skip_if_unchanged = true"} <= set(rabbitmq)
    redis = (folder / "redis.conf").read_text().splitlines()
    assert {"port 0", "appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(redis)
