"""Measurements on real servers: ``make bench``. Figures, not tests: nothing here fails for being slow."""
