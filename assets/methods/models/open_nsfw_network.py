"""Yahoo's OpenNSFW network: a ResNet-50 of half the width ("thin") with two classes.

Importing this file imports torch: import it inside functions.

Source: https://github.com/yahoo/open_nsfw, whose Caffe prototxt names the layers; the residual
network is He et al., "Deep Residual Learning for Image Recognition", 2016.
"""

import torch  # noqa: TID253
from torch import nn  # noqa: TID253

# Of each stage: blocks, channels within and between blocks, stride of the first block.
_STAGES = ((3, 32, 128, 1), (4, 64, 256, 2), (6, 128, 512, 2), (3, 256, 1024, 2))


class OpenNsfwNetwork(nn.Module):
    """The layers of the prototxt by their names, batch norm folded into the convolutions.

    Maps (n, 3, 224, 224) float32 to logits (n, 2); the classes are in ``open_nsfw.CLASS_NAMES``.
    Every ReLU is a module of its own, so that hooks (captum's ``Deconvolution``) see each of them;
    they also need what goes into it, which ``inplace`` overwrites to run a tenth faster.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self._inplace = inplace
        self.conv_1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3)
        self.relu_1 = nn.ReLU(inplace)
        # Caffe pads this pool at the end only, which is what ceil_mode does.
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        self._blocks: list[str] = []
        incoming = 64
        for stage, (blocks, inner, outgoing, stride) in enumerate(_STAGES):
            for block in range(blocks):
                self._add_block(
                    f"stage{stage}_block{block}",
                    incoming,
                    inner,
                    outgoing,
                    stride if not block else 1,
                )
                incoming = outgoing
        self.pool = nn.AvgPool2d(kernel_size=7)
        self.fc_nsfw = nn.Linear(incoming, 2)

    def _add_block(self, name: str, incoming: int, inner: int, outgoing: int, stride: int) -> None:
        self._blocks.append(name)
        if incoming != outgoing:
            shortcut = nn.Conv2d(incoming, outgoing, kernel_size=1, stride=stride)
            self.add_module(f"conv_{name}_proj_shortcut", shortcut)
        for branch, layer in (
            ("branch2a", nn.Conv2d(incoming, inner, kernel_size=1, stride=stride)),
            ("branch2b", nn.Conv2d(inner, inner, kernel_size=3, padding=1)),
            ("branch2c", nn.Conv2d(inner, outgoing, kernel_size=1)),
        ):
            self.add_module(f"conv_{name}_{branch}", layer)
        for relu in (f"relu_{name}_branch2a", f"relu_{name}_branch2b", f"relu_{name}"):
            self.add_module(relu, nn.ReLU(self._inplace))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, 224, 224) to logits (n, 2)."""
        features = self.pool1(self.relu_1(self.conv_1(images)))
        for name in self._blocks:
            features = self._run_block(name, features)
        return self.fc_nsfw(self.pool(features).flatten(1))

    def _run_block(self, name: str, features: torch.Tensor) -> torch.Tensor:
        shortcut = f"conv_{name}_proj_shortcut"
        kept = self._run(shortcut, features) if hasattr(self, shortcut) else features
        for branch in ("branch2a", "branch2b"):
            features = self._run(f"conv_{name}_{branch}", features)
            features = self._run(f"relu_{name}_{branch}", features)
        return self._run(f"relu_{name}", self._run(f"conv_{name}_branch2c", features) + kept)

    def _run(self, layer: str, features: torch.Tensor) -> torch.Tensor:
        return getattr(self, layer)(features)
