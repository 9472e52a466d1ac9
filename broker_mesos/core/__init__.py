"""The pure part: the model, the protocol, and the decisions of a cell. No clock, no chance, no I/O."""
