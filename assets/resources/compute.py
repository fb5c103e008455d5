"""The device, precision, batch size and threads of computations, as a resource."""

import dagster as dg
from pydantic import Field

from assets.methods.common.devices import ComputeSettings, DevicePreference, Precision


class Compute(dg.ConfigurableResource):
    """The device to compute on; settings that are None are chosen for the machine."""

    device: DevicePreference = Field(
        default="auto", description="auto, cuda, mps or cpu; auto takes the first available."
    )
    precision: Precision = Field(default="float32", description="float32, float16 or bfloat16.")
    batch_size: int | None = Field(default=None, description="Images per forward pass.")
    threads: int | None = Field(
        default=None, description="CPU threads; by default one for each usable core."
    )

    def settings(self) -> ComputeSettings:
        """Return the settings as the methods take them."""
        return ComputeSettings(self.device, self.batch_size, self.precision, self.threads)
