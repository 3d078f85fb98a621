"""The web console: views over the client."""
