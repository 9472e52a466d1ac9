"""Task cgroups: what the kernel limits, counts, lists and kills as one task, on cgroup v1, v2 and both at once.

The spawner imports this package: standard library only.
"""
