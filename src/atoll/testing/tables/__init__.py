"""Ephemeral tables of a whole cluster in virtual time: nodes, links, members' records, clients, and their checks."""
