"""The planes: siblings that meet only in the store."""
