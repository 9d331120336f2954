"""Questions that were asked of trained networks once, each with the program that answers it."""
