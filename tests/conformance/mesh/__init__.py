"""The mesh against foreign implementations: the real Envoy and gRPC's own xDS client."""
