"""The composition root: reads configuration, builds runtime and store, starts planes."""
