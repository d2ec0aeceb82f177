"""ONNX models for CPUs."""
