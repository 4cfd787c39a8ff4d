"""VideoDB's cloud for capture, imitated on loopback."""
