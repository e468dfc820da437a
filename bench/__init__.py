"""Measurements: each module prints its table and is the source of the numbers that docs quote."""
