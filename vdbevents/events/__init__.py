"""Events: messages as lines of the journal, and what they say."""
