"""Domain-free pieces, each fit to be a library of its own."""
