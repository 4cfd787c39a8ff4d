"""What must not be written down: redaction, exclusion, pauses."""
