"""Finds the GPUs of this machine: their device files, and the ids by which programs choose them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

from broker_mesos.errors import InvalidInput

AUTO, NONE = "auto", "none"
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""Device files that a program needs with any GPU."""
TOOL_SECONDS = 10.0
MAX_BYTES = 64 << 10
MAX_GPUS = 256
_DEVICE = re.compile(r"nvidia([0-9]{1,4})")
_IDENT = re.compile(r"[A-Za-z0-9._:/-]{1,80}")
_LISTED = re.compile(r"^GPU ([0-9]{1,4}): .*\(UUID: (GPU-[0-9a-fA-F-]{8,60})\)$")
_UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-fA-F-]{8,60})$", re.MULTILINE)
_MINOR = re.compile(r"^Device Minor:\s*([0-9]{1,4})$", re.MULTILINE)


class Gpu(NamedTuple):
    """A GPU: its id, which is its UUID if that is known and else its number, and its device file."""

    ident: str
    path: str


class GpuDevices(NamedTuple):
    """The GPUs of a machine, and the device files that a task with any of them needs."""

    gpus: tuple[Gpu, ...] = ()
    shared: tuple[str, ...] = ()


NO_GPUS = GpuDevices()


def find_gpus(
    wanted: str, *, dev: str = "/dev", driver: str = "/proc/driver/nvidia/gpus", tool: str = "nvidia-smi"
) -> GpuDevices:
    """The GPUs that a setting names, or with AUTO those of NVIDIA that are there. Raises InvalidInput."""
    if wanted == NONE:
        return NO_GPUS
    if wanted != AUTO:
        gpus = parse_gpus(wanted)
        for gpu in gpus:
            if not _is_device(gpu.path):
                raise InvalidInput(f"gpu_devices: {gpu.path} is no character device of this machine")
    else:
        numbers = sorted(int(found[1]) for name in _names(dev) if (found := _DEVICE.fullmatch(name)))
        numbers = [each for each in numbers if _is_device(f"{dev}/nvidia{each}")][:MAX_GPUS]
        if not numbers:
            return NO_GPUS
        # The numbers of `nvidia-smi` are in the order of the bus, and need not be those of the device files.
        uuids = uuids_of_driver(driver) or uuids_of_tool(tool)
        gpus = tuple(Gpu(uuids.get(each, str(each)), f"{dev}/nvidia{each}") for each in numbers)
    return GpuDevices(gpus, tuple(path for name in SHARED if _is_device(path := f"{dev}/{name}")))


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """The GPUs in the text of a setting, as in "GPU-1a2b=/dev/nvidia0 1=/dev/nvidia1". Raises InvalidInput."""
    gpus = []
    for part in text.split():
        ident, equals, path = part.partition("=")
        if not equals or not _IDENT.fullmatch(ident) or not path.startswith("/"):
            raise InvalidInput(f"gpu_devices: {part[:80]!r}: write auto, none, or ID=PATH ..., as in 0=/dev/nvidia0")
        gpus.append(Gpu(ident, path))
    if len({gpu.ident for gpu in gpus}) < len(gpus) or len({gpu.path for gpu in gpus}) < len(gpus):
        raise InvalidInput("gpu_devices: an id or a device is named twice")
    if len(gpus) > MAX_GPUS:
        raise InvalidInput(f"gpu_devices: {len(gpus)} are too many: at most {MAX_GPUS}")
    return tuple(gpus)


def uuids_of_driver(folder: str) -> dict[int, str]:
    """The UUIDs by the number of the device file, as the driver shows them; empty if it does not."""
    found = {}
    for name in _names(folder)[:MAX_GPUS]:
        try:
            with open(f"{folder}/{name}/information", errors="replace") as file:
                text = file.read(MAX_BYTES)
        except OSError:
            continue
        if (uuid := _UUID.search(text)) and (minor := _MINOR.search(text)):
            found[int(minor[1])] = uuid[1]
    return found


def uuids_of_tool(tool: str) -> dict[int, str]:
    """The UUIDs by the number of the GPU, as `nvidia-smi -L` lists them; empty if it does not, in time."""
    try:
        process = subprocess.Popen(
            [tool, "-L"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return {}
    timer = threading.Timer(TOOL_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            text = process.stdout.read(MAX_BYTES).decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        timer.cancel()
    lines = (_LISTED.match(line.strip()) for line in text.splitlines())
    return {int(line[1]): line[2] for line in lines if line}


def _names(folder: str) -> list[str]:
    try:
        return sorted(each.name for each in Path(folder).iterdir())
    except OSError:
        return []


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False
