"""One browser and one cluster for all tests of the dashboard, which run in one event loop: both are slow to start."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker_mesos.client import Client
from broker_mesos.wiring.local import LocalCluster
from tests.ui.browser import CHROMIUM, chromium
from tests.ui.site import SCRIPT, Site


def missing() -> str:
    """What these tests need and is not there; empty if all is."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install '.[ui-tests]'"
    return "" if CHROMIUM.exists() else f"there is no {CHROMIUM}: apt-get install chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))
            # Before the mark that a test has by itself, which names a loop of its own.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if problem := missing():
                item.add_marker(pytest.mark.skip(reason=problem))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A cluster in this process with two agents, a job that waits and one that runs."""
    folder = tmp_path_factory.mktemp("cluster")
    async with LocalCluster(agents=2, resources="cpus:2;mem:1024", port=0, work_dir=folder) as cluster:

        def submit() -> dict[str, str]:
            with Client(cluster.url) as client:
                waiting = client.submit("true", name="needs-gpus", gpus=1)
                running = client.submit(SCRIPT, name="running", cpus=0.1, mem=16)
                return {"WAITING": waiting.id, "RUNNING": running.id}

        yield Site(cluster, browser, await asyncio.to_thread(submit), folder)
