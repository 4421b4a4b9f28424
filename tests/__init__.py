"""Tests, which compute as the commands do: on one thread, whatever the environment says."""

import os
import sys

from bench.environment import settle, usable_cores

settle(os.environ, 1, usable_cores())  # before a library is loaded; threads of networks so small wait for each other
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a process that a test starts need not compile the package again
sys.dont_write_bytecode = False
