"""What all tests share."""

from hypothesis import HealthCheck, settings

# How long a machine takes to make an example says nothing of the program: others may be busy on it.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
