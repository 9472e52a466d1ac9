"""Store and Records on Redis. The only package that imports redis."""
