"""A workload's identity, kept by its own agent: the key is made here, certified by a node, renewed, and handed to whom it is
for, which is this workload's Envoy or gRPC library.

``workload`` enrols and renews; ``sds`` serves an Envoy at a Unix socket; ``files`` writes what gRPC reads.
"""
