"""The gRPC server against clients that others wrote."""
