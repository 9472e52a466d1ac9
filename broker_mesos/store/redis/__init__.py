"""Store and Records on Redis. No other package imports redis."""
