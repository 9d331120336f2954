"""From a folder of labelled images to a config, a trained network and a report."""
