"""The timeline in the browser: `vdbevents view`."""
