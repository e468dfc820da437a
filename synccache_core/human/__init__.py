"""Masks of people, and the files of those who find them."""
