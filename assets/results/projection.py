"""The points of inductive projections: by a network that is kept and registered, and measured."""

import pandas as pd

from assets.config import TsneConfig
from assets.methods.common.devices import DevicePreference
from assets.methods.layout.network_store import (
    NetworkProjection,
    NetworkStore,
    network_key,
    project_by_network,
)
from assets.resources.projection_registry import ProjectionRegistry, Registration
from assets.resources.tracking import Tracking
from assets.steps import Step
from assets.values import NETWORK_COLUMN, Embeddings, points_table


def place_by_network(
    log: Step,
    embeddings: Embeddings,
    config: TsneConfig,
    device: DevicePreference,
    store: NetworkStore,
    tracking: Tracking,
) -> pd.DataFrame:
    """Return a ``points_table`` with ``NETWORK_COLUMN`` of photos, placed by an inductive method.

    The last column is missing where the photos are too few, or too much alike, for a network.
    """
    settings, collection = config.settings(), log.context.partition_key
    registry = ProjectionRegistry(tracking, collection, store)
    key = network_key(settings, embeddings.fingerprint)
    if not store.find(key):
        registry.fetch(key)
    made = project_by_network(
        embeddings.vectors,
        settings,
        embeddings.fingerprint,
        config.retrain_above,
        device,
        store,
        log.progress,
    )
    registration = Registration("")
    if made.kept is not None:
        registration = registry.register(made.kept, log.run.run_id)
        if registration.unreachable:
            log.context.log.warning(
                f"The network is in {store.path(made.kept)}, but could not be registered: "
                f"{registration.unreachable}"
            )
    _report(log, made, registration)
    table = points_table(embeddings.image_ids, made.points, config.as_text())
    return table if made.kept is None else table.assign(**{NETWORK_COLUMN: made.kept.fingerprint})


def _report(log: Step, made: NetworkProjection, registration: Registration) -> None:
    metrics = {
        "points": len(made.points),
        "projected_anew": made.is_new,
        "network_reason": made.reason,
        "network_unknown_share": made.unknown_share,
    }
    kept = made.kept
    if kept is not None:
        metrics |= {
            "network": kept.fingerprint,
            "network_version": registration.version or "not registered",
            "network_fitted": kept.n_fitted,
            "network_held_out": kept.n_held_out,
            **kept.quality,
        }
    log.metrics(metrics)
