import pytest
import torch

from assets.methods.common.devices import ComputePlan, ComputeSettings, choose_device, plan_compute
from assets.methods.common.errors import UserError


@pytest.fixture
def present(monkeypatch):
    def choose(cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return choose


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (False, False, "cpu"),
        (False, True, "mps"),
        (True, False, "cuda"),
        (True, True, "cuda"),
    ],
)
def test_auto_takes_the_fastest_device_present(present, cuda, mps, expected):
    present(cuda, mps)
    assert choose_device("auto") == expected


def test_a_device_asked_for_is_taken(present):
    present(cuda=True, mps=False)
    assert choose_device("cpu") == "cpu"
    assert choose_device("cuda") == "cuda"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_absent_is_named(present, device):
    present(cuda=False, mps=False)
    with pytest.raises(UserError, match=f"{device} is not available here: use auto, cpu"):
        choose_device(device)


def test_settings_left_open_follow_the_device(present):
    present(cuda=True, mps=False)
    assert plan_compute(ComputeSettings(threads=3)) == ComputePlan("cuda", 64, "float32", 3)
    assert plan_compute(ComputeSettings("cpu", threads=3)) == ComputePlan("cpu", 1, "float32", 3)
    assert plan_compute(ComputeSettings("cpu")).threads >= 1


def test_settings_made_are_kept(present):
    present(cuda=True, mps=False)
    plan = plan_compute(ComputeSettings("cuda", 7, "float16", 2))
    assert plan == ComputePlan("cuda", 7, "float16", 2)


def test_tf32_is_for_cuda_alone(present):
    present(cuda=True, mps=False)
    assert plan_compute(ComputeSettings(precision="tf32")).precision == "tf32"
    present(cuda=False, mps=True)
    with pytest.raises(UserError, match="Only CUDA devices compute in tf32"):
        plan_compute(ComputeSettings(precision="tf32"))


def test_a_batch_size_is_measured_on_accelerators_if_nobody_chose_one(present, tmp_path):
    present(cuda=True, mps=False)
    file = tmp_path / "batch_sizes.json"
    assert plan_compute(ComputeSettings(batch_sizes=file)).batch_sizes == file
    assert plan_compute(ComputeSettings(batch_size=8, batch_sizes=file)).batch_sizes is None
    assert plan_compute(ComputeSettings("cpu", batch_sizes=file)).batch_sizes is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ComputeSettings("cpu", batch_size=0), "batch size is 0"),
        (ComputeSettings("cpu", threads=0), "number of threads is 0"),
        (ComputeSettings("cpu", precision="float16"), "CPU does not compute in float16"),
        (ComputeSettings("cpu", precision="tf32"), "Only CUDA devices compute in tf32"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        plan_compute(settings)
