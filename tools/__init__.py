"""The repository's own tooling, behind ``dev.py``; standard library only, never shipped."""
