"""The typed client of Atoll's own HTTP API."""
