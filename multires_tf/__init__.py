"""Whole-body MR to CT synthesis with uncertainties, in TensorFlow and Keras."""

__version__ = "0.1.0"
