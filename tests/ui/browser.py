"""The browser of these tests: Debian's Chromium, without the network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
# Memory is bounded where it is shared by all of /dev/shm; GPUs are none here.
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
PATIENCE = 90_000
"""In milliseconds."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """A running browser of playwright."""
    from playwright.async_api import async_playwright

    async with async_playwright() as started:
        browser = await started.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS), timeout=PATIENCE)
        try:
            yield browser
        finally:
            await browser.close()
