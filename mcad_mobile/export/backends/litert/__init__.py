"""Integer flatbuffers for the NPUs of Dimensity chips, and for CPUs."""
