"""What is true in the registry, and what is allowed: pure."""
