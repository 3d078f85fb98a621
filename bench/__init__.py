"""Benchmarks: each module here is one, run by ``python3 dev.py bench NAME``; ``load/`` is what they share."""
