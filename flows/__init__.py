"""The flows that build an atlas, and the command line."""

from core.machine import environment

environment.settle()
