"""What stands in for what is not computed."""
