"""What a video DiT is: its blocks, its tokens, its noise, what it costs."""
