"""Curves of a run, sheets of predictions, what goes on inside a network, drawing."""
