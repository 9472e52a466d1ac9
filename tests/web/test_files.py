"""Output and files of tasks over HTTP: whatever a task writes, nothing of it is shown as a page."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from broker_mesos.client import Client
from broker_mesos.errors import BrokerMesosError
from broker_mesos.wiring.local import LocalCluster

SCRIPT = """
mkdir -p out/deep; printf '<script>alert(1)</script>' > out/page.html; head -c 200000 /dev/zero | tr '\\0' x > big
printf 0123456789; printf 'a b' > "out/a b;é.txt"
"""


@pytest.fixture
async def cluster() -> AsyncIterator[LocalCluster]:
    async with LocalCluster(resources="cpus:4;mem:4096;disk:100;ports:[]", port=0) as made:
        yield made


@pytest.fixture
async def job(cluster: LocalCluster) -> str:
    def run() -> str:
        with Client(cluster.url) as client:
            summary = client.run(SCRIPT, mem=16, timeout=120)
            assert summary.state == "finished", summary
            return summary.job_id

    return await asyncio.to_thread(run)


@pytest.fixture
async def http(cluster: LocalCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as made:
        yield made


async def test_a_log_is_read_from_its_end(job: str, http: httpx.AsyncClient) -> None:
    found = (await http.get(f"/api/v1/tasks/{job}/log", params={"offset": -4})).json()
    assert base64.b64decode(found["data"]) == b"6789" and found["offset"] == 6 and found["ended"]
    whole = (await http.get(f"/api/v1/tasks/{job}/log", params={"offset": -(2**40)})).json()
    assert base64.b64decode(whole["data"]) == b"0123456789" and whole["offset"] == 0


async def test_folders_are_listed_and_files_are_downloads(job: str, http: httpx.AsyncClient) -> None:
    top = (await http.get(f"/api/v1/tasks/{job}.0/files")).json()
    kinds = {each["name"]: each["kind"] for each in top["files"]}
    assert kinds["out"] == "folder" and kinds["stdout"] == "file" and not top["truncated"]
    assert top["task_id"] == f"{job}.0.1" and top["agent_id"]
    page = (await http.get(f"/api/v1/tasks/{job}/files", params={"path": "out", "limit": 1})).json()
    assert [each["name"] for each in page["files"]] == ["a b;é.txt"] and page["truncated"]
    rest = (await http.get(f"/api/v1/tasks/{job}/files", params={"path": "out", "after": page["after"]})).json()
    assert [each["name"] for each in rest["files"]] == ["deep", "page.html"]

    answer = await http.get(f"/api/v1/tasks/{job}/download", params={"path": "out/page.html"})
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''page.html"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    named = await http.get(f"/api/v1/tasks/{job}/download", params={"path": "out/a b;é.txt"})
    assert named.headers["content-disposition"].endswith("''a%20b%3B%C3%A9.txt") and named.content == b"a b"
    big = await http.get(f"/api/v1/tasks/{job}/download", params={"path": "big"})
    assert big.content == b"x" * 200_000
    part = (await http.get(f"/api/v1/tasks/{job}/file", params={"path": "big", "offset": -3})).json()
    assert base64.b64decode(part["data"]) == b"xxx" and part["size"] == 200_000


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "absent", ""])
async def test_what_is_not_in_the_sandbox_is_refused_in_one_line(job: str, path: str, http: httpx.AsyncClient) -> None:
    for page in ("file", "download"):
        answer = await http.get(f"/api/v1/tasks/{job}/{page}", params={"path": path})
        assert answer.status_code in (400, 404), answer.text
        assert "\n" not in answer.json()["error"]["message"]
    assert (await http.get(f"/api/v1/tasks/{job}/files", params={"path": path or "absent"})).status_code in (400, 404)


async def test_ids_hosts_and_names_are_found_and_the_doctor_and_rights_are_answers(
    job: str, cluster: LocalCluster, http: httpx.AsyncClient
) -> None:
    agent = cluster.agents[0].state.info.agent_id
    found = (await http.get("/api/v1/search", params={"prefix": agent[:5]})).json()
    assert {"kind": "agent", "id": agent} in [{key: each[key] for key in ("kind", "id")} for each in found["found"]]
    one = (await http.get("/api/v1/search", params={"prefix": job})).json()["found"][0]
    assert one["kind"] == "job" and one["id"] == job
    nothing = (await http.get("/api/v1/search", params={"prefix": "?["})).json()
    assert nothing["found"] == [] and not nothing["truncated"]
    report = (await http.get("/api/v1/doctor")).json()
    assert report["worst"] in ("ok", "warning") and all(each["subject"] for each in report["findings"])
    who = (await http.get("/api/v1/whoami")).json()
    assert who["may"]["drain"] == "" and not who["checked"]
    with Client(cluster.url) as client:
        assert await asyncio.to_thread(client.read_file, job, "big", -2) == b"xx"
        with pytest.raises(BrokerMesosError):
            await asyncio.to_thread(client.files, "absent")
