"""The containerizer that runs tasks as processes of this machine.

``containerizer.py`` is the asyncio side, inside the agent. ``spawner.py`` is the one helper process of an
agent, which starts the tasks, waits for them, and outlives the agent.
"""
