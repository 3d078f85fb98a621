"""Atoll: coordination, registry, mesh, SQL and volumes on one ordered, versioned, watchable store."""

__version__ = "0.1.0.dev0"
