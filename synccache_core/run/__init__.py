"""One sampling run."""
