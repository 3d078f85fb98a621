"""Programs that run in the environments of foreign Nacos clients (``tools/environment.py``), not in Atoll's."""
