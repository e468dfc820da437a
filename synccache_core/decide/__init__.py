"""Compute or reuse."""
