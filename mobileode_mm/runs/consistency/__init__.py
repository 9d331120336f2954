"""Do the data that a config names agree: with each other, with the network, with the way they are batched?

A module for each subject; each check yields findings. :func:`.checking.check_data` runs them for training, for testing
and for ``mobileode verify``.
"""
