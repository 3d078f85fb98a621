"""Programs that drive one foreign client each, in that client's own environment; nothing of Atoll is imported."""
