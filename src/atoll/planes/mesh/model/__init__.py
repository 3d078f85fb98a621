"""What is true in the mesh: its documents and services at one revision, and the snapshots made of them. Pure."""
