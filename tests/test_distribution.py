"""What is shipped: the wheel, and the wheel that is built from the source distribution, serve the dashboard."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVE = """
import asyncio, sys
import httpx
import broker_mesos
from broker_mesos.web import build_app

async def main() -> None:
    transport = httpx.ASGITransport(build_app(None))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as client:
        page = await client.get("/ui/")
        script = page.text.partition('src="')[2].partition('"')[0]
        print(page.status_code, (await client.get(script)).status_code, script, broker_mesos.__file__)

asyncio.run(main())
"""


def build(folder: Path, kind: str, target: Path) -> Path:
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


def served_by(wheel: Path, folder: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{SERVE}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    page, script, name, package = done.stdout.split()
    assert (page, script) == ("200", "200") and Path(package).is_relative_to(folder)
    return name


@pytest.mark.slow
def test_the_wheel_and_the_wheel_of_the_source_distribution_serve_the_same_dashboard(tmp_path: Path) -> None:
    first = served_by(build(ROOT, "wheel", tmp_path / "wheel"), tmp_path / "installed")
    source = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(source) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "source", filter="data")
    assert not [name for name in names if "node_modules" in name]
    assert [name for name in names if name.endswith("ui/src/main.tsx")]
    (folder,) = (tmp_path / "source").iterdir()
    second = served_by(build(folder, "wheel", tmp_path / "again"), tmp_path / "installed-again")
    assert first == second and first.startswith("/ui/assets/app-")
