"""Entry point of the spawner process: ``python -I -S spawner_main.py WORK_DIR [BOOT_ID]``.

Run by path, with a bare stand-in for the package ``broker_mesos``, so that its ``__init__`` (and with it
pydantic, asyncio and the rest) is not imported: the spawner starts in some 50 ms and stays small.

Forks, so that the agent is not the parent who would have to wait for it. Then writes one word to stdout,
"ready", "locked" or the error, and closes it.
"""

from __future__ import annotations

import os
import signal
import sys
import types


def _main(work_dir: str, boot: str) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    package = types.ModuleType("broker_mesos")
    package.__path__ = [os.path.dirname(os.path.dirname(here))]
    sys.modules["broker_mesos"] = package

    from broker_mesos.containerizer.process.launching import raise_file_limit
    from broker_mesos.containerizer.process.spawner import Locked, Spawner, log

    if os.fork():
        os._exit(0)
    os.chdir("/")
    raise_file_limit()
    # A hang-up of the terminal or a Ctrl-C is the agent's business.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not boot:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    spawner = Spawner(work_dir, boot)
    try:
        spawner.open()
        word = "ready"
    except Locked:
        word = "locked"
    except OSError as error:
        word = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    os.write(1, word.encode() + b"\n")
    os.dup2(2, 1)
    if word != "ready":
        os._exit(1)
    try:
        spawner.run()
    except BaseException:
        import traceback

        log(traceback.format_exc())
        raise


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
