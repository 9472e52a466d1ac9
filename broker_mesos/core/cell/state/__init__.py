"""The state of a cell: agents, frameworks, tasks and offers."""
