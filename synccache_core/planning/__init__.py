"""Once, before: what a calibration measures, and the plan that is made of it."""
