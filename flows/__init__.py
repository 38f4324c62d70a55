"""The flows that build an atlas, and the command line."""
