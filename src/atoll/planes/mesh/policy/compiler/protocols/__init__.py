"""What is not HTTP: byte streams, and the protocols for which Envoy has a filter of its own."""
