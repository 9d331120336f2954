"""Predictions of a trained network on images, folders, videos and cameras."""
