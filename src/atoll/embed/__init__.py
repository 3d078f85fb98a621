"""In-process entry points for applications."""
