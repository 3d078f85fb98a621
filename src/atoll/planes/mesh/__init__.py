"""The mesh plane: one policy model, compiled for Envoy and for gRPC's own xDS client."""
