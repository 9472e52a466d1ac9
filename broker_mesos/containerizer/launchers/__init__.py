"""Launchers: processes, forked ahead by the spawner, that start tasks in a cgroup and as a user of their own.

The spawner imports this package: standard library only.
"""
