"""`vdbevents sql`: SQL over a journal."""
