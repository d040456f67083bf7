"""What renders pages: templates, the style sheet, and the script with the policy that allows it and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from attention_arena.report.page.inline import Piece
from attention_arena.report.page.run_files import embedded

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("contents", "choose", "tables", "copy", "plots", "runs")
"""In the order in which they run."""


def environment(scripts: Sequence[str] = SCRIPTS) -> jinja2.Environment:
    """Return what renders the pages: everything escaped, nothing missing in silence, and a script of `scripts`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only what `inline.take_apart` made, which has been through an XML parser, and our own style sheet and script.
    environment.filters["picture"] = lambda piece: Markup(piece.svg if isinstance(piece, Piece) else piece)
    environment.filters["embedded"] = embedded
    environment.globals["style"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    script = _script(scripts)
    environment.globals["script"] = Markup(script)
    environment.globals["policy"] = _policy(script)
    return environment


def _script(names: Sequence[str]) -> str:
    parts = [(TEMPLATES / "scripts" / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return "\n".join(f"(() => {{\n{part}}})();" for part in parts)


def _policy(script: str) -> str:
    """Return the Content-Security-Policy: this script and files beside the page, and no connection anywhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'")
    return "; ".join((*parts, f"script-src 'self' file: 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'"))
