"""Recording a session: from its channels to the exported video."""
