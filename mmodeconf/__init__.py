"""Base configs as plain data: models, datasets, schedules, runtime.

A config takes them by ``read_base()`` (``from mmodeconf.models.ssdlite import *``) or names their files in
``_base_``. ``configs/`` of the repository shows the second way.
"""
