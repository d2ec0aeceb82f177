"""Students as they are trained."""
