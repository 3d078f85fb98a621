"""HTTP/2 for a server (RFC 9113), as a machine without I/O: bytes in, facts out, bytes to write out."""
