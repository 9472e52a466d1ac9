"""Measurements: ``make bench``, or ``python -m benchmarks [name …]``; each is a module with a ``main``.

Figures, not tests: nothing here fails for being slow. To add one: a module that takes ``--size``
(``sizes.add_size``), stores what it finds by ``record.Record`` and, where it measures several sizes, a
``growth.Growth``; its name in ``page.ORDER``; its targets, if it has any, in ``targets.TARGETS``.
``python -m benchmarks.page`` makes ``docs/benchmarks.md`` of all stored results.

``locality`` and ``faults`` stand beside this: they write into the pages of their subjects.
"""
