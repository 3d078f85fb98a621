"""The client of the node's API for applications without an event loop; generated from ``atoll.client``."""
