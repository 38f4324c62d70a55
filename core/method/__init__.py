"""The method: how the frames of strips and portraits are parameterized, seen, optimised and measured."""
