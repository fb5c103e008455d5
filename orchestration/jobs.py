"""The jobs: what is materialised together, with its asset checks."""

import dagster as dg

# The job that evaluates what is stored.
CHECKS = "checks"
PHOTO_MAP = ("raw_images", "embeddings", "tsne_2d", "grid_assignment", "mosaic")
SCORES = ("raw_images", "nsfw_model", "nsfw_scores")
MODERATION = (*SCORES, "occlusion_maps", "deconvnet_maps")
# By job, what a run takes settings for. Training and evaluation need labels, which not every
# collection has, so they are not part of everything.
ASSETS_OF = {
    "photo_map": PHOTO_MAP,
    "scores": SCORES,
    "moderation": MODERATION,
    "everything": tuple(dict.fromkeys((*PHOTO_MAP, *MODERATION))),
    "training": ("raw_images", "labelled_images", "nsfw_model", "nsfw_training"),
    "model": ("nsfw_model",),
    "evaluation": ("raw_images", "labelled_images", "nsfw_model", "nsfw_evaluation"),
    # Dagster takes no job of the name of an asset.
    "map_quality": ("fresh_map",),
    "health_report": ("health",),
}
_DESCRIPTIONS = {
    "photo_map": "Lay a collection out, from its files to the mosaic.",
    "scores": "Score each image of a collection with the NSFW model or another classifier.",
    "moderation": "Score a collection, and examine the images with the highest scores.",
    "everything": "Map and score a collection, and examine the images with the highest scores.",
    "training": "Train a new version of the NSFW model on labelled photos. It becomes the "
    "champion only if it is surely as good as the champion before.",
    "model": "Look up which version of the NSFW model is the champion.",
    "evaluation": "Evaluate models on labelled photos.",
    "map_quality": "Compare the quality of a map with that of one made anew, which is not kept.",
    "health_report": "Show what became of each collection last night.",
}
JOBS = {
    name: dg.define_asset_job(
        name, dg.AssetSelection.assets(*assets), description=_DESCRIPTIONS[name]
    )
    for name, assets in ASSETS_OF.items()
}
JOBS[CHECKS] = dg.define_asset_job(
    CHECKS,
    dg.AssetSelection.all_asset_checks(),
    description="Evaluate every check on what is stored, and compute nothing. Without the tag "
    "dagster/partition it evaluates all collections, with it the one that the tag names.",
)
