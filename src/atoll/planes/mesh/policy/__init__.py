"""What the mesh's truth means to one client: the compiler, the judge of a staged change, explanations. Pure."""
