"""The query cache: the sealed part of a journal, in columns."""
