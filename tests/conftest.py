"""Settings of all tests."""

from hypothesis import HealthCheck, settings
from support.signals import restore_default_signals

restore_default_signals()

# The time that an example takes depends on the machine's load, not on the program.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
