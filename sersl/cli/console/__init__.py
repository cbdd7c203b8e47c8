"""The command line around a verb: paths that are given, progress that is shown."""
