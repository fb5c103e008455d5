"""Classifiers whose answer is known."""

import numpy as np


class Brightness:
    """Says `bright` with the mean of an image's first channel, over 255, and notes its calls."""

    fingerprint = "b0"
    device = "cpu"

    def __init__(self, class_names=("dark", "bright"), batch_size=4, workers=1):
        self.class_names, self.batch_size, self.workers = class_names, batch_size, workers
        self.sizes = []

    def classify(self, images):
        self.sizes.append(len(images))
        bright = np.array([float(image[0].float().mean()) / 255 for image in images])
        answers = {"bright": bright.astype(np.float32), "dark": (1 - bright).astype(np.float32)}
        return {name: answers[name] for name in self.class_names}
