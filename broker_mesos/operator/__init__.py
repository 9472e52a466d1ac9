"""The operator API: what a user asks of a cluster, and who in it answers."""
