"""The checks of all assets."""

from assets.checks import nsfw, photo_map, training

ALL_CHECKS = (*photo_map.CHECKS, *nsfw.CHECKS, *training.CHECKS)
