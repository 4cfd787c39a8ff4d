"""Finding events again in a journal."""
