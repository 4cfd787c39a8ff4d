"""The recorder as a service of the user: units, agents and tasks, and the managers that run them."""
