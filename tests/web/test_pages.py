"""The dashboard's files: which are served, with which headers, and that they are those of its sources."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker_mesos.web import build_app, pages
from tests.operator.fakes import FakeCluster

ROOT = Path(__file__).parent.parent.parent
UI = ROOT / "ui"
SOURCES = sorted((UI / "src").rglob("*.ts*"))


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(FakeCluster()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as client:
        yield client


async def test_the_root_leads_to_the_dashboard(http: httpx.AsyncClient) -> None:
    for path in ("/", "/ui"):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/ui/")


@pytest.mark.parametrize("path", ["/ui/", "/ui/agents", "/ui/agents/node-1", "/ui/jobs/a%2Fb", "/ui/manifest.json.js"])
async def test_every_place_in_the_dashboard_is_its_one_page(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("<!doctype html>")


async def test_files_with_a_hash_in_their_name_are_kept_for_ever(http: httpx.AsyncClient) -> None:
    names = re.findall(r"/ui/(assets/[\w.-]+)", (await http.get("/ui/")).text)
    assert {Path(name).suffix for name in names} == {".css", ".js"}
    for name in names:
        answer = await http.get(f"/ui/{name}")
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        assert hashlib.sha256(answer.content).hexdigest() == manifest()[name]
        plain = await http.get(f"/ui/{name}", headers={"accept-encoding": "identity"})
        assert plain.content == answer.content and "content-encoding" not in plain.headers


async def test_pages_may_load_from_this_server_only_and_be_framed_by_none(http: httpx.AsyncClient) -> None:
    for path in ("/ui/", "/ui/licences.txt"):
        headers = (await http.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["assets/../app.py", "assets/%2e%2e/%2e%2e/app.py", "assets/..%2f..%2fapp.py", "assets/gone.js", "assets/"]
)
async def test_no_file_but_those_of_the_manifest_is_served(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(f"/ui/{path}")
    # The client itself resolves `..`: what is left is a place in the dashboard, or no page at all.
    assert answer.status_code == 404 or answer.text.startswith("<!doctype html>")
    assert "def build_app" not in answer.text


def manifest() -> dict[str, str]:
    files: dict[str, str] = json.loads((pages.STATIC / "manifest.json").read_text(encoding="utf-8"))["files"]
    return files


def test_the_manifest_lists_exactly_the_files_that_are_there() -> None:
    there = {
        path.relative_to(pages.STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pages.STATIC.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert there == manifest()


def test_the_types_of_the_api_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("ui_generate", UI / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.generated(), "run: make ui"


def test_the_lock_file_names_no_address() -> None:
    text = (UI / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text and "://" not in re.sub(r'"url": "[^"]*"', "", text)


def test_text_never_becomes_markup_in_the_sources() -> None:
    assert len(SOURCES) > 30
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet|document\.write|\beval\(|new Function"
    )
    assert [path.name for path in SOURCES if forbidden.search(path.read_text(encoding="utf-8"))] == []


def test_no_source_is_longer_than_five_hundred_lines() -> None:
    files = [*SOURCES, *(UI / "src").glob("*.css")]
    long = {path.name: count for path in files if (count := len(path.read_text().splitlines())) > 500}
    assert {name: count for name, count in long.items() if name != "api.ts"} == {}


def test_scripts_and_styles_stay_within_their_budget() -> None:
    """In bytes as they are sent. What draws charts is loaded when the first one is shown."""
    sizes = {name: len(file.compressed) for name, file in pages.static_files().items()}
    first = {name: size for name, size in sizes.items() if name.endswith(".js") and "/plot-" not in name}
    assert sum(first.values()) <= 60_000
    assert sum(size for name, size in sizes.items() if name.endswith(".css")) <= 10_000


def test_what_the_first_page_loads_is_within_its_budget() -> None:
    """Its script with those that it imports, the chart, and the worker with the stream, as they are sent."""
    page = (pages.STATIC / "index.html").read_text(encoding="utf-8")
    names = set(re.findall(r"/ui/(assets/[\w.-]+)", page))
    names |= {name for name in manifest() if name.startswith("assets/plot-")}
    assert {"app", "plot", "stream"} <= {Path(name).name.partition("-")[0] for name in names}
    sent = dict.fromkeys((".js", ".css"), 0)
    for name in names:
        sent[Path(name).suffix] += len(pages.static_files()[name].compressed)
    assert sent[".js"] <= 60_000 and sent[".css"] <= 10_000
