import base64

import numpy as np
import pytest

from assets.methods.page.scripts import data_script, smallest_type
from support.page_data import fields_of


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "float32", "float64"])
def test_columns_come_back(kind):
    values = np.array([[0, 1, 2], [3, 4, 255]], kind)
    column = fields_of(data_script("part", {"values": values}), "part")["values"]
    assert column["type"] == kind
    read = np.frombuffer(base64.b64decode(column["base64"]), np.dtype(kind).newbyteorder("<"))
    assert read.tolist() == values.ravel().tolist()


@pytest.mark.parametrize(
    "text",
    ["</script><script>alert(1)</script>", "\u2028 \u2029", '"); alert(1); ("', "\udcff", "\0"],
)
def test_no_text_ends_the_script(text):
    script = data_script("part", {"names": [text]})
    assert b"</script" not in script
    assert fields_of(script, "part")["names"] == [text]


def test_numbers_get_the_smallest_type_that_holds_them():
    kinds = [smallest_type(np.array([0, most])).dtype for most in (0, 255, 256, 65_535, 65_536)]
    assert kinds == [np.uint8, np.uint8, np.uint16, np.uint16, np.uint32]
    assert smallest_type(np.array([], int)).dtype == np.uint8
