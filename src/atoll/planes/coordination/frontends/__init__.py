"""The coordination plane's protocols: today etcd's v3 gRPC API."""
