"""Runs the command ``python -m tests.simulation`` in a process of its own.

With a fixed hash seed it goes the way that a replay goes, and its silenced log stays its own.
"""

from __future__ import annotations

import asyncio
import os
import sys

LIMIT = 280
"""Time that a command may take, in seconds."""


async def simulate(*options: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.simulation",
        *options,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()
