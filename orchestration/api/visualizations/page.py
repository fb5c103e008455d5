"""The page that shows a visualization: one file of HTML, without scripts."""

import base64
import hashlib
import html
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Template

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f5f2; --ink: #1d2026; --faint: #6b7078; --line: #dddad3; --frame: #16181d;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #101216; --ink: #e8e6e1; --faint: #979ca6; --line: #2a2e36; }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
header {
  display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1.25rem;
  height: 4rem; padding: 1.1rem 1.5rem; overflow: hidden;
}
h1 { margin: 0; font-size: 1.25rem; font-weight: 650; overflow-wrap: anywhere; }
p { margin: 0; color: var(--faint); font-variant-numeric: tabular-nums; }
a { color: inherit; }
.full { margin-left: auto; }
main { padding: 0 1.5rem 3rem; }
.mosaic { display: block; width: fit-content; margin: 0 auto; cursor: zoom-in; }
.mosaic img { max-width: 100%; max-height: calc(100vh - 5.5rem); background: var(--frame); }
img { display: block; border-radius: 6px; }
a:focus-visible { outline: 2px solid currentColor; outline-offset: 4px; border-radius: 6px; }
figure { max-width: 72rem; margin: 3rem auto 0; padding-top: 2rem; }
figure { border-top: 1px solid var(--line); }
figcaption { margin-bottom: 1rem; }
figcaption strong { display: block; font-weight: 650; }
figcaption span { color: var(--faint); }
figure img { width: 100%; height: auto; background: #fff; }
@media (max-width: 40rem) {
  header { height: auto; padding: 1rem; }
  .full { margin-left: 0; }
  main { padding: 0 1rem 2rem; }
}
"""

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="$mosaic">
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p>$photos <time datetime="$moment">$when</time></p>
<p class="full"><a href="$mosaic">Full picture</a></p>
</header>
<main>
<a class="mosaic" href="$mosaic"><img src="$mosaic" alt="The photos, each near those like it"></a>
<figure>
<figcaption>
<strong>How each photo came to its place</strong>
<span>From the points of the projection to the cells of the grid</span>
</figcaption>
<a href="$figure"><img src="$figure" loading="lazy" alt="Points, cells, and the way between"></a>
</figure>
</main>
</body>
</html>
""")

# A browser applies only the style with this hash.
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; img-src 'self'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class AboutVisualization:
    """What the page says about a visualization; ``created_at`` is when it was posted."""

    app: str
    n_photos: int
    created_at: datetime


def render_page(about: AboutVisualization, mosaic: str, figure: str) -> str:
    """Return the page as HTML; ``mosaic`` and ``figure`` are the URLs of its images."""
    plural = "photo" if about.n_photos == 1 else "photos"
    moment = about.created_at.astimezone(UTC)
    texts = {
        "title": about.app,
        "photos": f"{about.n_photos:,} {plural} ·",
        "moment": moment.isoformat(timespec="seconds"),
        "when": f"{moment.day} {moment:%B %Y, %H:%M} UTC",
        "mosaic": mosaic,
        "figure": figure,
    }
    return _PAGE.substitute({name: html.escape(text) for name, text in texts.items()}, style=_STYLE)
