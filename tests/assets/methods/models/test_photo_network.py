import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image

from assets.methods.common.devices import ComputePlan
from assets.methods.models import photo_network, stream
from assets.methods.models.photo_network import PhotoNetwork
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reading import reading_processes
from assets.methods.models.stream import rows_ahead
from assets.methods.photos.photo_store import PhotoStore

SIDE = 8
LEVELS = Preprocessing(SIDE, SIDE, (0.0, 0.0, 0.0), (1 / 255,) * 3, "bicubic")


class Means(torch.nn.Module):
    def forward(self, batch):
        return batch.mean(dim=(2, 3))


def in_processes(network, read, image_ids, side, plan):
    """Stream as long collections are on an accelerator."""
    return rows_ahead(network, read, image_ids, side, plan, stream._PlainBuffer, reading_processes)


@pytest.mark.process
def test_processes_read_working_copies_and_one_that_is_gone_ends_the_stream(monkeypatch, tmp_path):
    store, image_ids = PhotoStore(tmp_path), [f"{number:08x}" for number in range(40)]
    for number, image_id in enumerate(image_ids):
        path = store.working_copy_path(image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), (6 * number,) * 3).save(path, "JPEG")
    monkeypatch.setattr(photo_network, "stream_rows", in_processes)
    network = PhotoNetwork(Means(), LEVELS, ComputePlan("cpu", 4, "float32", 2))
    rows = np.concatenate(list(network.stream(store.open_working_copy, image_ids)))
    assert np.rint(rows[:, 0]).tolist() == [6 * number for number in range(40)]
    store.working_copy_path(image_ids[30]).unlink()
    with pytest.raises(FileNotFoundError, match=image_ids[30]):
        list(network.stream(store.open_working_copy, image_ids))
    assert multiprocessing.active_children() == []
