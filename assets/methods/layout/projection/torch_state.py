"""The state of torch that decides the bytes of a result: random numbers, and threads."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the body torch draws from ``seed``; its global random state is left as it was."""
    import torch

    # Without their numbers, torch warns where there are several.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the body torch computes on one thread, as sums over several come out differently."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
