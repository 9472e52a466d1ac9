"""How much a benchmark measures: the one option that all of them take, and where results of a size go."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

SIZES = ("small", "usual", "full")
RESULTS = Path(__file__).with_name("results")


def add_size(parser: argparse.ArgumentParser) -> None:
    """``--size``."""
    parser.add_argument("--size", choices=SIZES, default="usual", help="small: only to see that it works")


def folder(size: str) -> Path:
    """Where results go: those of a trial are not what the docs show, unless ``BENCH_RESULTS`` says so."""
    given = os.environ.get("BENCH_RESULTS")
    if given:
        return Path(given)
    return RESULTS if size != "small" else Path(tempfile.gettempdir()) / f"bmesos-bench-small-{os.getuid()}"
