"""The flows that build an atlas, and the command line."""

from isthmus import find_our_packages

find_our_packages()  # here too, because the deployments and `python -m flows.cli` begin with this package
