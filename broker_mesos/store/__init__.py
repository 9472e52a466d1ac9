"""Adapters of the Store and Records ports: Redis, SQLite, and memory for one process and for simulations."""
