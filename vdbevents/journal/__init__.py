"""The files of a state directory: the journal, locks, process ids and status files."""
