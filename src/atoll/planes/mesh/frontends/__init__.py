"""What the mesh answers: xDS, identity, and its own HTTP API."""
