"""Writers that are killed, whose disk fills up, whose fsync fails: what they are and what must be true after."""
