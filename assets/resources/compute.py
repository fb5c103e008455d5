"""The device, precision, batch size and threads of computations, as a resource."""

import dagster as dg
from pydantic import Field

from assets.methods.common.devices import ComputeSettings, DevicePreference, Precision


class Compute(dg.ConfigurableResource):
    """The device to compute on; settings that are None are chosen for the machine."""

    device: DevicePreference = Field(
        default="auto", description="Device to compute on, where auto is the fastest one there is."
    )
    precision: Precision = Field(default="float32", description="Precision of the arithmetic.")
    batch_size: int | None = Field(
        default=None,
        description="Number of images in a forward pass. Without it, one that suits the device.",
    )
    threads: int | None = Field(
        default=None, description="Number of CPU threads. Without it, one for each usable core."
    )

    def settings(self) -> ComputeSettings:
        """Return the settings as the methods take them."""
        return ComputeSettings(self.device, self.batch_size, self.precision, self.threads)
