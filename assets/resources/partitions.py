"""The partitions of the assets: each collection is one of them."""

import dagster as dg

from assets.resources.collections import PARTITIONS_NAME

COLLECTIONS = dg.DynamicPartitionsDefinition(name=PARTITIONS_NAME)
