"""Entry point of the process that unpacks one archive: ``python -I -S unpack_main.py FOLDER BOUNDS``.

Its stdin is the archive; ``BOUNDS`` is the JSON of ``Bounds``. It prints one JSON array: ``["done", files]``,
``["refused", text]``, or ``["failed", errno, text]`` if the machine is to blame. It is run by path, as the spawner is,
so that it starts fast. It forks: the child unpacks, confined, and this process never reads the archive; it waits for
the child, and gives what that has made to its own user.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import types
from typing import Any

_MAX_ANSWER = 1 << 16


def _main(folder: str, text: str) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    package = types.ModuleType("broker_mesos")
    package.__path__ = [os.path.dirname(os.path.dirname(here))]
    sys.modules["broker_mesos"] = package

    from broker_mesos.containerizer.unpacking.confine import UNPACKER, end_with_parent
    from broker_mesos.containerizer.unpacking.extract import Bounds
    from broker_mesos.containerizer.unpacking.ownership import give

    end_with_parent()
    bounds = Bounds(*json.loads(text))
    own = os.geteuid(), os.getegid()
    try:
        os.chown(folder, UNPACKER.uid, UNPACKER.gid)
        as_unpacker = True
    except OSError:
        as_unpacker = False  # this process has no right to choose, or its user namespace has no such user
    answer = _run_child(folder, bounds, as_unpacker)
    if as_unpacker and answer[0] == "done":
        try:
            give(folder, *own)
        except OSError as error:
            answer = ["failed", error.errno, error.strerror]
    print(json.dumps(answer), flush=True)


def _run_child(folder: str, bounds: Any, as_unpacker: bool) -> list[Any]:
    """Unpack in a child; the answer of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, json.dumps(_unpack(folder, bounds, as_unpacker)).encode()[:_MAX_ANSWER])
        finally:
            os._exit(0)
    os.close(writer)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    answered = bool(poll.poll(1000 * bounds.seconds))
    data = os.read(reader, _MAX_ANSWER) if answered else b""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not answered or (not data and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return ["refused", f"that takes more than {bounds.seconds:g} s"]
    try:
        kind, *rest = json.loads(data)
        if kind in ("done", "refused", "failed"):
            return [kind, *rest]
    except (ValueError, TypeError):
        pass
    return ["refused", f"the process that unpacked it has ended with status {status}"]


def _unpack(folder: str, bounds: Any, as_unpacker: bool) -> list[Any]:
    """What the child does; its answer."""
    # All that is imported later could not be read any more.
    import encodings.ascii
    import encodings.latin_1
    import encodings.utf_8  # noqa: F401

    from broker_mesos.containerizer.unpacking.confine import confine, end_with_parent
    from broker_mesos.containerizer.unpacking.extract import Refused, extract

    os.umask(0o022)
    try:
        folder = confine(folder, bounds, as_unpacker=as_unpacker)
        end_with_parent()  # a change of the user undoes it
        with open(0, "rb", closefd=False) as archive:
            return ["done", extract(archive, folder, bounds)]
    except Refused as error:
        return ["refused", str(error)]
    except OSError as error:
        return ["failed", error.errno, error.strerror or str(error)]
    except BaseException as error:
        return ["refused", f"{type(error).__name__}: {error}"[:200]]


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
