"""The jobs: what is materialised together."""

import dagster as dg

photo_map_job = dg.define_asset_job(
    "photo_map",
    selection=dg.AssetSelection.groups("photo_map"),
    description="Lay a collection out: from its files to the mosaic, with every asset check.",
)
