"""gRPC over HTTP/2 (the PROTOCOL-HTTP2 document of the gRPC project): requests, messages, status, timeouts."""
