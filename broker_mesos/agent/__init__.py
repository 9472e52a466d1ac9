"""The agent: the daemon that lends a machine's resources and runs tasks on it.

``state.py`` decides and has no effects itself; ``daemon.py`` is the asyncio shell that carries the decisions out.
"""
