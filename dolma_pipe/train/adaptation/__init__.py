"""Instruction tuning and preference optimisation, with the loop and the checkpoints of pre-training."""
