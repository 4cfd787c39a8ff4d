"""What servers on this machine share: journals that stay open, and an address on loopback."""
