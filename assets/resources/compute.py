"""The device, precision, batch size and threads of computations, as a resource."""

import dagster as dg
from pydantic import Field

from assets.methods.common.devices import ComputeSettings, DevicePreference, Precision
from assets.resources.home import home_folder


class Compute(dg.ConfigurableResource):
    """The device to compute on; settings that are None are chosen for the machine."""

    device: DevicePreference = Field(
        default="auto", description="Device to compute on, where auto is the fastest one there is."
    )
    precision: Precision = Field(default="float32", description="Precision of the arithmetic.")
    batch_size: int | None = Field(
        default=None,
        description=(
            "Number of images in a forward pass. Without it, one that suits the CPU, or on an "
            "accelerator the fastest, which is measured once."
        ),
    )
    threads: int | None = Field(
        default=None, description="Number of CPU threads. Without it, one for each usable core."
    )

    def settings(self) -> ComputeSettings:
        """Return the settings as the methods take them, with the file of measured batch sizes."""
        batch_sizes = home_folder() / "batch_sizes.json"
        return ComputeSettings(
            self.device, self.batch_size, self.precision, self.threads, batch_sizes
        )
