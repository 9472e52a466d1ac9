"""Entry point of the spawner process: ``python -I -S spawner_main.py WORK_DIR [BOOT_ID]``.

It is run by path, with an empty module in place of the package ``broker_mesos``, so that the package's ``__init__``
(and with it pydantic and asyncio) is not imported: the spawner starts in some 50 ms and stays small.

It forks, so that the agent is not its parent and need not wait for it. Then it writes "ready", "locked" or the error
to stdout, and closes it.
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
    from broker_mesos.containerizer.process.spawner import Spawner, log
    from broker_mesos.containerizer.process.spawner_folder import Locked

    agent_pid = os.getppid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    raise_file_limit()
    # Only the agent handles a hang-up of the terminal and Ctrl-C.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not boot:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    spawner = Spawner(work_dir, boot, agent_pid)
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
