import pytest

from assets.methods.photos.decode import decode
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.rejects import Rejected
from assets.methods.photos.tiff import kind_of_numbers, undecoded_compression
from support.odd_files import tiff_compressed_by
from support.photos import photo


@pytest.mark.parametrize("method", [2, 6, 7, 32809, 34676, 50000, 50001])
def test_libtiff_writes_nothing_to_the_terminal(method, capfd):
    with pytest.raises(Rejected):
        decode(tiff_compressed_by(method), DecodeLimits())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", [1, 5, 7, 8, 32773, 50000])
def test_compressions_that_are_decoded(method):
    assert undecoded_compression(tiff_compressed_by(method)) is None


def test_a_compression_is_named():
    assert undecoded_compression(tiff_compressed_by(34661)) == "a TIFF compressed by JBIG"
    assert undecoded_compression(tiff_compressed_by(999)) == "a TIFF compressed by method 999"


def test_a_damaged_directory_says_nothing():
    for data in (b"", photo("TIFF")[:9], b"II*\0\xff\xff\xff\xff"):
        assert undecoded_compression(data) is None
        assert kind_of_numbers(data) == "a TIFF whose 1 channels are integers of 1 bits"
