"""Nacos on the wire: what is asked and answered over HTTP and gRPC, as values and bytes; no I/O, no decision."""
