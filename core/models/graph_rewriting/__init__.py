"""Rewriting of GraphDefs for inference on any number of images, without TensorFlow and before they are checked."""
