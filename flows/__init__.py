"""The flows that build an atlas, and the command line."""

from isthmus import find_our_packages

find_our_packages()  # here too, because the deployments and `python -m flows.cli` begin with this package

from core.machine import environment  # noqa: E402  (only now is this `core` ours)

environment.settle()
