"""The method: parameterizations, objectives, transforms, and the strips that are optimised with them."""
