"""Adapters of the Store and Records ports: Redis, and memory for one process and for simulations."""
