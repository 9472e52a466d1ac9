"""Tests. Read `tests/servers.py` for how real servers come into them."""
