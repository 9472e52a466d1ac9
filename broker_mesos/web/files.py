"""The paths of the HTTP server for output and files of tasks. Nothing of a sandbox is ever shown as a page: its content
comes as base64 in JSON, or as a download that a browser does not open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Query
from fastapi.responses import Response, StreamingResponse

from broker_mesos.core.api.files import FolderView, ListFiles, LogChunk, ReadLog, ReadSandboxFile
from broker_mesos.core.model.part import Part
from broker_mesos.operator.gateway import OperatorApi
from broker_mesos.web.dashboard import made

_DOWNLOAD_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def add_files(app: FastAPI, gateway: OperatorApi) -> None:
    """Add the paths to an application."""

    @app.get("/api/v1/tasks/{task_id}/log", response_model=LogChunk, summary="Part of the output of a task")
    async def log(
        task_id: str,
        name: str | None = None,
        offset: Annotated[int | None, Query(description="negative: from the end")] = None,
        length: int | None = None,
        wait: float | None = None,
    ) -> Part:
        request = made(ReadLog, task_id=task_id, name=name, offset=offset, length=length, wait=wait)
        return await gateway.handle(request)

    @app.get("/api/v1/tasks/{task_id}/files", response_model=FolderView, summary="A folder in the sandbox of a task")
    async def files(task_id: str, path: str | None = None, after: str | None = None, limit: int | None = None) -> Part:
        return await gateway.handle(made(ListFiles, task_id=task_id, path=path, after=after, limit=limit))

    @app.get("/api/v1/tasks/{task_id}/file", response_model=LogChunk, summary="Part of a file in a sandbox")
    async def file(
        task_id: str,
        path: str,
        offset: int | None = None,
        length: int | None = None,
        wait: float | None = None,
    ) -> Part:
        fields = {"task_id": task_id, "name": path, "offset": offset, "length": length, "wait": wait}
        return await gateway.handle(made(ReadSandboxFile, **fields))

    @app.get("/api/v1/tasks/{task_id}/download", response_class=StreamingResponse, summary="A file of a sandbox")
    async def download(task_id: str, path: str) -> Response:
        first = await gateway.handle(made(ReadSandboxFile, task_id=task_id, name=path))
        assert isinstance(first, LogChunk)
        name = quote(path.rpartition("/")[2], safe="")
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}", **_DOWNLOAD_HEADERS}
        return StreamingResponse(_content(gateway, first, path), media_type="application/octet-stream", headers=headers)


async def _content(gateway: OperatorApi, chunk: LogChunk, path: str) -> AsyncIterator[bytes]:
    """The file as far as it went when the download began; it ends early if the file became shorter."""
    end, offset = chunk.size, 0
    while True:
        data = chunk.bytes()
        offset = chunk.offset + len(data)
        yield data
        if offset >= end or not data:
            return
        found = await gateway.handle(made(ReadSandboxFile, task_id=chunk.task_id, name=path, offset=offset))
        assert isinstance(found, LogChunk)
        chunk = found
