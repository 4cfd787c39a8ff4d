"""A table of the events of many recorders, in an open format, which other engines read, too."""
