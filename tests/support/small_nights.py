"""Nights of collections in small: the assets of a map by name, whose work is nothing."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets.methods.common.errors import UserError
from assets.methods.photos.source import list_source, listing_digest
from assets.resources.collections import CollectionRegistry
from assets.resources.partitions import COLLECTIONS
from orchestration.map_requests import LISTING_METADATA


class Night:
    """Maps collections on an instance; ``faults`` says by asset what goes wrong in the next map.

    A fault is an exception, or the severity of a check that fails.
    """

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.home = home
        self.instance = instance
        self.faults: dict[str, BaseException | dg.AssetCheckSeverity] = {}
        self.definitions = dg.Definitions(
            assets=[self._asset(name) for name in ("raw_images", "embeddings", "mosaic")],
            asset_checks=[self._check()],
            jobs=[dg.define_asset_job("photo_map", "*"), dg.define_asset_job("scores", "*")],
            executor=dg.in_process_executor,
        )

    def map(
        self,
        name: str,
        job: str = "photo_map",
        tags: dict[str, str] | None = None,
        only: list[str] | None = None,
        **faults: BaseException | dg.AssetCheckSeverity,
    ) -> dg.ExecuteInProcessResult:
        """Run a job of a collection; ``only`` these assets of it."""
        self.faults = faults
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=name,
            tags=tags,
            asset_selection=[dg.AssetKey(one) for one in only] if only else None,
            raise_on_error=False,
        )

    def _asset(self, name: str) -> dg.AssetsDefinition:
        before = {"raw_images": [], "embeddings": ["raw_images"], "mosaic": ["embeddings"]}

        @dg.asset(name=name, deps=before[name], partitions_def=COLLECTIONS)
        def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            fault = self.faults.get(name)
            if isinstance(fault, UserError):
                raise dg.Failure(str(fault), allow_retries=False)
            if isinstance(fault, BaseException):
                raise fault
            metadata = {}
            if name == "raw_images":
                source = CollectionRegistry(self.home).get(context.partition_key).source
                metadata = {
                    LISTING_METADATA: listing_digest(list_source(source)),
                    "photos": 3,
                    "rejected": 1,
                }
            return dg.MaterializeResult(metadata=metadata)

        return asset

    def _check(self) -> dg.AssetChecksDefinition:
        spec = dg.AssetCheckSpec("vectors_are_sound", asset="embeddings")

        # As those of the project, it fails its run after its result is stored.
        @dg.multi_asset_check(name="embeddings_vectors_are_sound", specs=[spec])
        def check() -> Iterator[dg.AssetCheckResult]:
            severity = self.faults.get("check")
            if not isinstance(severity, dg.AssetCheckSeverity):
                yield dg.AssetCheckResult(passed=True)
                return
            description = "/secret/photo.jpg is not sound"
            yield dg.AssetCheckResult(passed=False, severity=severity, description=description)
            if severity is dg.AssetCheckSeverity.ERROR:
                raise dg.Failure(description, allow_retries=False)

        return check
