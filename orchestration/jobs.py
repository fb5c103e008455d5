"""The jobs: what is materialised together, with its asset checks."""

import dagster as dg

PHOTO_MAP = ("raw_images", "embeddings", "tsne_2d", "grid_assignment", "mosaic")
SCORES = ("raw_images", "nsfw_model", "nsfw_scores")
MODERATION = (*SCORES, "occlusion_maps", "deconvnet_maps")
EVERYTHING = tuple(dict.fromkeys((*PHOTO_MAP, *MODERATION)))
# What needs labels, which not every collection has.
TRAINING = ("raw_images", "labelled_images", "nsfw_training", "nsfw_model")
EVALUATION = ("raw_images", "labelled_images", "nsfw_model", "nsfw_evaluation")

photo_map_job = dg.define_asset_job(
    "photo_map",
    selection=dg.AssetSelection.assets(*PHOTO_MAP),
    description="Lay a collection out: from its files to the mosaic.",
)

scores_job = dg.define_asset_job(
    "scores",
    selection=dg.AssetSelection.assets(*SCORES),
    description="Score each image of a collection with the NSFW model, or another classifier.",
)

moderation_job = dg.define_asset_job(
    "moderation",
    selection=dg.AssetSelection.assets(*MODERATION),
    description="Score a collection, and look into the images with the highest scores.",
)

everything_job = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.assets(*EVERYTHING),
    description="Map and score a collection, and look into the images with the highest scores.",
)

training_job = dg.define_asset_job(
    "training",
    selection=dg.AssetSelection.assets(*TRAINING),
    description="Train a new version of the NSFW model on a labelled manifest; the champion stays "
    "unless it is surely matched.",
)

evaluation_job = dg.define_asset_job(
    "evaluation",
    selection=dg.AssetSelection.assets(*EVALUATION),
    description="Evaluate models on a labelled manifest.",
)

# What a run of a job takes settings for.
ASSETS_OF = {
    "photo_map": PHOTO_MAP,
    "scores": SCORES,
    "moderation": MODERATION,
    "everything": EVERYTHING,
    "training": TRAINING,
    "evaluation": EVALUATION,
}
