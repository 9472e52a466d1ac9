"""A cell: a fixed share of the agents, decided by one owner at a time. Pure: messages in, decision out."""
