"""The coordination plane: the etcd v3 API and everything that needs exactly one leader."""
