"""What an adapter keeps, and toys that keep it."""
