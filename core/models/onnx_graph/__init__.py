"""Translation of an ONNX graph into a TensorFlow GraphDef."""
