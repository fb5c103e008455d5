"""Where the arithmetic runs: the device, the precision, the batch size and the threads."""

import dagster as dg
from pydantic import Field

from assets.methods.common.devices import ComputeSettings, DevicePreference, Precision


class Compute(dg.ConfigurableResource):
    """The device to compute on; what is not set is chosen for the machine at hand."""

    device: DevicePreference = Field(
        default="auto", description="auto, cuda, mps or cpu; auto takes the best there is."
    )
    precision: Precision = Field(default="float32", description="float32, float16 or bfloat16.")
    batch_size: int | None = Field(default=None, description="Images per forward pass.")
    threads: int | None = Field(
        default=None, description="CPU threads; by default every usable core."
    )

    def settings(self) -> ComputeSettings:
        """Return the settings as the methods take them."""
        return ComputeSettings(self.device, self.batch_size, self.precision, self.threads)
