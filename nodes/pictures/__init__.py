"""Plans and runs as pictures; knows neither ComfyUI nor the core."""
