"""Sans-I/O codecs and protocol states: bytes in, facts out."""
