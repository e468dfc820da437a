"""The Tiny Talker: a small real S2V model, its data, training and demo."""
