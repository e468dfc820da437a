"""Training of the Tiny Talker, and what the Wild Talker's training and the evaluation share with it."""
