"""The commands of the package, a module each: ``add_arguments(parser)`` declares what ``run(args)`` reads.

What does the work is imported in ``run``, so that ``--help`` is quick.
"""
