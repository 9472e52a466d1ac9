"""Containerizers, which run tasks: as processes of this machine (``process/``), or simulated (``memory.py``)."""
