"""Principals, roles and quotas as pure functions, asked in one place before a decision."""
