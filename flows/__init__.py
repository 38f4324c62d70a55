"""What happens, in which order: the flow that builds an atlas, and the command line."""
