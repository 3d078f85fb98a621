"""xDS v3, the protocol by which proxies are told what to do: its messages, and both forms of its streams without I/O."""
