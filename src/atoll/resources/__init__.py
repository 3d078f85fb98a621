"""The nouns that are stored and shared: frozen values, validation, byte encoding with a format number."""
