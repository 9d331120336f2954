"""The one exception that speaks to the user."""


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is complete: what is wrong, where, and what to do. Command lines print it without a traceback
    and exit with status 2.
    """
