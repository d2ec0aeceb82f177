"""Phone chips and what a tower becomes on each of them."""

from mcad_mobile.targets.target import RungPlan, Target, all_targets, find_target

__all__ = ["RungPlan", "Target", "all_targets", "find_target"]
