"""Moved to assets.methods.common.devices: versions registered before 0.2 name it here."""

from assets.methods.common.devices import ComputeSettings, plan_compute

__all__ = ["ComputeSettings", "plan_compute"]
