"""TensorFlow operations with gradients of our own."""
