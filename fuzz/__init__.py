"""Fuzzing: mutators over a kept corpus (``corpus/``). The tests that run them are marked ``soak("fuzz-...")``."""
