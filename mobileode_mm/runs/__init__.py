"""A training or a test from its config: reading it, checking all that it names, building the Runner, running."""
