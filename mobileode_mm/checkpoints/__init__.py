"""Checkpoint files: reading without running code, matching with a network, resuming, converting released weights."""
