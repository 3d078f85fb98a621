"""The only package that touches the operating system: time, randomness, network, disk, tasks, signals, logs."""
