"""A typed client of the node's HTTP API. ``Client`` in ``atoll.client.node``."""
