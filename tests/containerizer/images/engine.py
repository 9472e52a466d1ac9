"""A container engine for tests, with a small image that is made of the programs of this machine, without a registry.

The engine is that at the socket that BMESOS_TEST_ENGINE names, or that of the machine. Where none answers the tests
report that they were not run.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from typing import Any

import pytest

from broker_mesos.containerizer.images.engine import NoEngine, connect, find_socket, status_of

IMAGE = "bmesos-test:1"
PROGRAMS = ("sh", "cat", "sleep", "env", "id", "tail", "true", "ls", "mkdir")


def find_engine() -> str:
    """The socket of the engine. Skips the test if none answers."""
    try:
        socket = find_socket(os.environ.get("BMESOS_TEST_ENGINE", "auto"))
        connect(socket).close()
    except NoEngine as error:
        pytest.skip(f"WAS NOT RUN: {error}")
    return socket


def make_image(socket: str) -> str:
    """Make the image, unless the engine has it; its name."""
    client = connect(socket, 60)
    if not client.images(IMAGE):
        client.import_image_from_data(archive(), repository=IMAGE.split(":")[0], tag=IMAGE.split(":")[1])
    client.close()
    return IMAGE


def archive() -> bytes:
    """The files of the image, as a tar archive that no engine has seen."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for folder in ("bin", "tmp", "proc", "dev", "etc"):
            archive.addfile(_folder(folder))
        added: set[str] = set()
        unique = tarfile.TarInfo("unique")
        unique.size = 16
        archive.addfile(unique, io.BytesIO(os.urandom(16)))
        for name in PROGRAMS:
            path = shutil.which(name)
            assert path is not None
            _add(archive, os.path.realpath(path), f"bin/{name}", added)
            listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
            for library in re.findall(r"(/\S+) \(0x", listed):
                _add(archive, os.path.realpath(library), library.lstrip("/"), added)
    return data.getvalue()


def _folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    return info


def _add(archive: tarfile.TarFile, source: str, name: str, added: set[str]) -> None:
    if name not in added:
        added.add(name)
        archive.add(source, name)


def drop_image(socket: str, image: str) -> None:
    """Remove an image, if the engine has it."""
    client = connect(socket)
    try:
        client.remove_image(image, force=True)
    except Exception as error:
        if status_of(error) != 404:
            raise
    finally:
        client.close()


def containers(socket: str, task_id: str) -> list[dict[str, Any]]:
    """The containers of a task, whatever their state."""
    client = connect(socket)
    try:
        found: list[dict[str, Any]] = client.containers(all=True, filters={"label": f"broker-mesos.task={task_id}"})
        return found
    finally:
        client.close()
