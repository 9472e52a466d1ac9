"""Running tasks: as processes of this machine (``process/``), or simulated ones (``memory.py``)."""
