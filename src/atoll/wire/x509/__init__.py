"""X.509 as the mesh uses it: requests and certificates of SPIFFE identities, made and read. Pure: time is an argument."""
