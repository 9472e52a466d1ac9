"""Namespaces: a task's own view of files, processes and the network, which its launcher makes for it.

The spawner imports this package: standard library only.
"""
