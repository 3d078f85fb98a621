"""Shipped test kit: World, fakes, check_store."""
