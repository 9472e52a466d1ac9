"""An empty folder without settings for a command, and one HTTP server for the clusters of a module's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator.fakes import FakeCluster, Stage, serving


@pytest.fixture
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: an empty folder. No setting comes from the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("BMESOS_"):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A server on which each test puts its cluster."""
    stage = Stage()
    with serving(stage) as stage.url:
        yield stage


@pytest.fixture
def cluster() -> FakeCluster:
    """A cluster that is not there."""
    return FakeCluster()


@pytest.fixture
def url(stage: Stage, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the server in front of it, which commands use."""
    stage.cluster = cluster
    monkeypatch.setenv("BMESOS_URL", stage.url)
    return stage.url
