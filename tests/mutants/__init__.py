"""Seeded bugs, to prove that the torture and its kin catch what they are there for."""
