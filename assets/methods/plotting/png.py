"""Images as PNG files that say where they come from."""

import io
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def png_bytes(image: Image.Image, about: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """Return an image as PNG, the same bytes for the same arguments.

    Args:
        image: of a mode that PNG has.
        about: becomes text chunks of these names, of at most 79 characters; what is no text is
            written as JSON. A character that is no text, as in names of files, is a question mark.
    """
    chunks = PngInfo()
    for name, content in about.items():
        text = content if isinstance(content, str) else json.dumps(content)
        chunks.add_text(name, text.encode(errors="replace").decode())
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=chunks)
    return file.getvalue()
