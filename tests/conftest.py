"""Settings and options of all tests."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings
from support import cpu, forkserver
from support.effort import examples
from support.order import shared_out
from support.patience import patient
from support.signals import restore_default_signals

restore_default_signals()
# No test may find a key of this machine's user.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# The time that an example takes depends on the machine's load, not on the program. Examples of one test may
# share a folder.
settings.register_profile(
    "unhurried",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("unhurried")


# What is collected lives until the end: looking through it for garbage, again and again, takes a fifth of the
# time of the collection, in each process.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_addoption(parser):
    parser.addoption(
        "--most-cpu", type=int, default=0, metavar="N", help="show the N files and tests that used most CPU"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.getoption("timeout", None) is None:
        config.option.timeout = patient(float(config.getini("timeout")))
    config.pluginmanager.register(cpu)
    if hasattr(config, "workerinput"):
        forkserver.use_server(config.workerinput["forkserver"])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        long = [item for item in items if item.get_closest_marker("long")]
        others = [item for item in items if not item.get_closest_marker("long")]
        waiting = [item for item in long if "e2e" in item.path.parts]
        computing = [item for item in long if "e2e" not in item.path.parts]
        items[:] = shared_out(waiting, computing, others, config.workerinput["workercount"])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["forkserver"] = forkserver.server_path()
