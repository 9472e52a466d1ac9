"""Jobs in the store: records, reading, changing, housekeeping."""
