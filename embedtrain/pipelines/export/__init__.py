"""A trained model in a form that serves faster: ONNX, with its loss and its gain measured."""
