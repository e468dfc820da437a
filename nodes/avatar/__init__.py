"""HunyuanVideo-Avatar on ComfyUI's own HunyuanVideo: the model, its files, what it is conditioned on, its guidance."""
