"""The ordered, versioned, watchable store: etcd v3's data model (3.4 semantics) behind one protocol, three drivers."""
