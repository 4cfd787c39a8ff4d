"""Find out whether a state directory is recorded into, and what keeps it from being."""
