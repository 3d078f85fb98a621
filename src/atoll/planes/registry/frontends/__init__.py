"""The protocols in which the registry is spoken to."""
