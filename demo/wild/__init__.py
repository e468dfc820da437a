"""The Wild Talker: a second world, in which the noise decides how people move. See `world` and `train`."""
