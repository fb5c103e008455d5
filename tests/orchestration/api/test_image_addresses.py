import stat
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from orchestration.api.image_addresses import ImageAddresses


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_different_things_have_different_tokens(tmp_path_factory, one, other, third):
    made = ImageAddresses(tmp_path_factory.getbasetemp() / "tokens")
    assert made.token("inputs", one, other) == made.token("inputs", one, other)
    if (one, other) != (other, third):
        assert made.token("inputs", one, other) != made.token("inputs", other, third)
    assert made.token("inputs", one + other) != made.token("inputs", one, other)


def test_the_secret_is_made_once_and_is_nobody_elses(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ImageAddresses(tmp_path), range(8)))
    assert len({one.token("x") for one in made}) == 1
    file = tmp_path / "keys" / "secret"
    assert len(file.read_bytes()) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_another_home_has_another_secret(tmp_path):
    one, other = ImageAddresses(tmp_path / "a"), ImageAddresses(tmp_path / "b")
    assert one.token("x") != other.token("x")


def test_a_token_has_at_least_128_bits(tmp_path):
    assert len(bytes.fromhex(ImageAddresses(tmp_path).token("x"))) * 8 >= 128
