"""What an adapter keeps."""
