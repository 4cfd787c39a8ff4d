"""Capture sessions: what capture, backend and recovery share."""
