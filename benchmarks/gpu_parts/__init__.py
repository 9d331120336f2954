"""What a GPU is asked: parts that prove, measure and tune, each in processes of its own; the command is ``gpu.py``."""

#: In order of worth.
PARTS = ('parity', 'sanitizer', 'layers', 'models', 'training', 'tuning')
