"""etcd's v3 gRPC API as data: message classes and the table of its methods. No I/O, and no meaning given to it."""
