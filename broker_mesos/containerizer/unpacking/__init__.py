"""Unpacks archives that are not trusted, in a process that can do nothing else."""

from __future__ import annotations
