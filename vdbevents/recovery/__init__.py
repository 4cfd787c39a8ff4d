"""Recovery: rebinds pipelines and fetches what the listener missed."""
