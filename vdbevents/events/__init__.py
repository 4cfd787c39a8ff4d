"""Events: one message as a line of the journal, and what a line says."""
