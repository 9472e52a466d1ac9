"""A cell: a fixed share of the agents, for which one owner at a time decides. The code is pure: messages in, a
decision out."""
