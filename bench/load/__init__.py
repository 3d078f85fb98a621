"""What benchmarks share: servers under test, load generators, the disk's own speed."""
