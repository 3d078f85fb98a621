"""Calls to a workload: the listeners of its sidecar, and who gets through them."""
