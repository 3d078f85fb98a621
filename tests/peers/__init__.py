"""Real peers for the tests: Debian's etcd, alone, as a cluster, with TLS, in network namespaces."""
