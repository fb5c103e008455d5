"""A small plain convnet, to be trained from scratch: convolutions, ReLUs and max pools in a row.

Importing this file imports torch: import it inside functions.

It is of the kind that Zeiler and Fergus looked into ("Visualizing and Understanding Convolutional
Networks", ECCV 2014), so that every step back to the pixels is defined: 80,000 weights, for
images of about 112 px. Batch norm (Ioffe and Szegedy 2015) lets it learn in a few epochs.
"""

from torch import nn  # noqa: TID253

CHANNELS = (16, 32, 64, 96)


def plain_convnet(classes: int) -> nn.Sequential:
    """Return the network with random weights: (n, 3, h, w) to logits (n, classes), h and w >= 32.

    Every pool halves the sides; before the classifier the features are averaged over the image.
    """
    layers: list[nn.Module] = []
    incoming = 3
    for number, outgoing in enumerate(CHANNELS):
        # The first sees colours in a coarser grid, which is where most of the time would go.
        kernel, stride = (5, 2) if number == 0 else (3, 1)
        layers += [
            nn.Conv2d(incoming, outgoing, kernel, stride, padding=kernel // 2),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        incoming = outgoing
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(incoming, classes)
    )
