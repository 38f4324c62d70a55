"""TensorFlow operations whose gradients are defined here."""
