"""Moves a new spawner to where its tasks are: each task cgroup is below that of the spawner that has made it.

An agent may be started in another cgroup than the last one, such as a scope of systemd. While tasks of an earlier
spawner run, their cgroups stay where they are, and the next spawner goes there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from broker_mesos.containerizer.cgroups.files import CgroupFiles
from broker_mesos.containerizer.cgroups.layout import base_name, task_number
from broker_mesos.containerizer.cgroups.mounts import PROC, SERVICE, hierarchies, scope_of


def rejoin(
    work_dir: str,
    bases: Iterable[str],
    log: Callable[[str], None],
    files: CgroupFiles | None = None,
    proc: str = PROC,
    root: str = "/",
) -> None:
    """Move this process to the cgroups above those ``bases`` of the work folder that have tasks, where it is not there
    already. What is not possible is logged."""
    files = files or CgroupFiles()
    try:
        name = base_name(work_dir)
    except OSError:
        return
    found = hierarchies(proc, root)
    for base in bases:
        above = os.path.dirname(base)
        mounted = next((each for each in found if f"{above}/".startswith(f"{each.mounted}/")), None)
        if os.path.basename(base) != name or mounted is None or scope_of(mounted.own) == above:
            continue
        try:
            if any(task_number(each) for each in files.groups(base)):
                leaf = f"{above}/{SERVICE}"
                files.write(f"{leaf if files.exists(leaf) else above}/cgroup.procs", "0")
        except FileNotFoundError:
            continue
        except OSError as error:
            log(f"the tasks of an earlier spawner are in {base}, and this one cannot go there: {error.strerror}")
