"""Tests of Atoll: unit, property, simulation, conformance, e2e."""
