"""Moved to assets.methods.models.classifier_file: versions registered before 0.2 name it here."""

from assets.methods.models.classifier_file import load_classifier

__all__ = ["load_classifier"]
