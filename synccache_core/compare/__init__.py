"""How like two videos are."""
