"""Atoll's etcd API beside Debian's etcd-server: the same calls on both, and the answers compared."""
