"""The process of a task in a container: ``python -I container_main.py FOLDER``.

The spawner starts it like the process of any task. It creates the container that the request in its FOLDER describes,
waits for its end, writes down how it ended, removes it, and ends with the same code. It is run by path, with an empty
module in place of the package ``broker_mesos``, as the spawner is. SIGTERM ends the container.
"""

from __future__ import annotations

import os
import sys
import types


def _main(folder: str) -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    package = types.ModuleType("broker_mesos")
    package.__path__ = [os.path.dirname(os.path.dirname(here))]
    sys.modules["broker_mesos"] = package

    from broker_mesos.containerizer.images.container_run import run

    return run(folder)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
