"""Room 12: the command line, one thin file per verb."""
