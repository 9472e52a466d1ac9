"""An empty folder without settings for a command, and one HTTP server for the clusters of a module's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator.fakes import Stage, serving


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
