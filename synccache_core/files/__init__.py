"""Somebody else's JSON, read with care."""
