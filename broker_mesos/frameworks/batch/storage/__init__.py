"""The jobs of the batch framework in the store: records, reading, changes, housekeeping."""
