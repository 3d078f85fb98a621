"""Routes of HTTP: what documents say of requests, as Envoy's and gRPC's route messages. For callers and for the border.

Rule: nothing here knows who asks but what a ``Scene`` tells; whoever compiles a listener asks for its virtual hosts.
"""
