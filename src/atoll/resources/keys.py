"""Where the planes' own data lies in the ordered store."""

RESERVED_PREFIX = b"\0atoll/"
"""The planes' own data. No etcd principal sees or writes it; nodes reach it with their node credential."""
