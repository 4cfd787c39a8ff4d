"""Answers that sum up a recording: digest, transcript, sessions, context, statistics."""
