"""Tasks in containers, by a Docker or Podman engine of the machine.

The agent pulls the image and describes the container (``image_tasks.py``); then the spawner starts a process for the
task like any other, which runs the container and ends as it does (``container_main.py``). So the journal, queues, kills
and adoption of tasks are those of all tasks, and a container runs on whoever of agent, spawner and engine is away.
"""
