"""The registry's own API, on the port of the node's HTTP API: typed, with an OpenAPI document."""
