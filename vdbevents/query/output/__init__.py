"""Query results in every output format."""
