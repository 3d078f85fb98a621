"""What is allowed and what follows, as pure functions: no I/O, no clock, no store."""
