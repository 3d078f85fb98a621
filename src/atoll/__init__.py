"""Atoll: coordination, registry, mesh, SQL and volumes on one ordered, versioned, watchable store."""
