"""The mesh's certificate authority at work on this node: what it keeps, what it signs, what it serves."""
