"""The moderation of 1996 as a classifier: much skin, and limbs that make a body.

After "Finding Naked People" (Fleck, Forsyth and Bregler, ECCV 1996): an image is reported if skin
covers enough of it and its limbs can be grouped into a body. The paper's answer is yes or no;
the score that grades both answers is ours.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from assets.methods.common.fingerprints import digest_parts
from assets.methods.models.classifier import Images
from assets.methods.models.preprocessing import to_pillow
from assets.methods.models.skin.filter import SKIN_RULES, SkinPlanes, skin_planes
from assets.methods.models.skin.limbs import GROUPING_RULES, Body, Limb, find_limbs, group_limbs

SKIN_BASELINE = "skin-baseline"

# Change it when the same image may get another score.
CODE_VERSION = "1"

# Quoted as the paper's: images with less skin are dismissed before limbs are looked for.
LEAST_SKIN = 0.3


@dataclass(frozen=True)
class SkinEvidence:
    """What a naked body in an image is concluded from.

    ``planes`` are the filter's, of its working size; limbs and bodies are in px of it.
    """

    planes: SkinPlanes
    limbs: tuple[Limb, ...]
    bodies: tuple[Body, ...]

    @property
    def skin_share(self) -> float:
        """Share of the image that is skin, in [0, 1]."""
        return float(self.planes.skin.mean())

    @property
    def score(self) -> float:
        """What ``grade`` makes of it."""
        largest = len(self.bodies[0].limbs) if self.bodies else 0
        return grade(self.skin_share, len(self.limbs), largest)


def find_evidence(image: np.ndarray) -> SkinEvidence:
    """Filter an image, (h, w, 3) uint8 RGB, find its limbs and group them."""
    planes = skin_planes(image)
    limbs, torsos = find_limbs(planes.skin)
    bodies = group_limbs(limbs, torsos)
    return SkinEvidence(planes, tuple(limbs), tuple(bodies))


def grade(skin_share: float, n_limbs: int, n_grouped: int) -> float:
    """Return a score in [0, 1): at least 0.5 exactly where an image is reported.

    An image is reported if skin covers at least 30 % and there is a body. More of anything
    never lowers the score. Within its half of the range it is the mean of three shares: of skin; of
    limbs, n / (n + 2); and of limbs in the largest body, likewise. The mean is ours.

    Args:
        skin_share: of the image, in [0, 1].
        n_limbs: in the image.
        n_grouped: limbs of the largest body, 0 without one.
    """
    mean = (skin_share + n_limbs / (n_limbs + 2) + n_grouped / (n_grouped + 2)) / 3
    reported = skin_share >= LEAST_SKIN and n_grouped > 0
    return (mean + reported) / 2


class SkinBaseline:
    """The classifier; ``workers`` is the number of images worked on at the same time."""

    class_names = ("sfw", "nsfw")
    device = "cpu"
    batch_size = 1

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.fingerprint = digest_parts(
            {
                "classifier": SKIN_BASELINE,
                "code_version": CODE_VERSION,
                "least_skin": LEAST_SKIN,
                "skin": dataclasses.asdict(SKIN_RULES),
                "grouping": dataclasses.asdict(GROUPING_RULES),
            }
        )

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 scores by class name; the two add up to 1."""
        scores = [find_evidence(np.asarray(to_pillow(image))).score for image in images]
        nsfw = np.array(scores, dtype=np.float32)
        return {"sfw": 1 - nsfw, "nsfw": nsfw}
