"""Students under training."""
