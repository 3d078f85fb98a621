"""The nouns of the mesh: services as their sources tell of them, policy documents, clients and what is said of them."""
