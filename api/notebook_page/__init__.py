"""An executed notebook as a page for people: no script, nothing that is loaded from anywhere.

nbconvert makes HTML of it; what notebooks and their outputs contain is then let through by a list of what is
harmless. The headers keep a browser from running or fetching anything even if some of it were not.
"""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import nh3

from api.turns import Turns
from core.errors import FailedPrecondition

MAX_BYTES: Final = 20 << 20
#: Making HTML of a large notebook takes seconds and much memory.
_TURNS = Turns(2, 5.0, "pages are made of notebooks")
_FOLDER = Path(__file__).parent

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_TAGS = {
    *(
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "code",
        "del",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
    ),
    *("kbd", "mark", "p", "pre", "s", "small", "span", "strong", "sub", "sup", "u"),
    *("table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td"),
    *("ul", "ol", "li", "dl", "dt", "dd", "details", "summary", "img", "figure", "figcaption"),
}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"class", "id", "style", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "th": {"colspan", "rowspan", "scope"},
    "td": {"colspan", "rowspan"},
    "ol": {"start"},
}
_STYLES = {"background-color", "color", "font-style", "font-weight", "padding", "text-align", "width", "height"}

#: What papermill has noted of each cell, above what nbconvert makes of it.
_TEMPLATE = """\
{%- extends 'basic/index.html.j2' -%}
{% block codecell %}
{%- set ran = cell.metadata.get('papermill') or {} -%}
{%- if ran.status %}
<div class="ran ran-{{ ran.status | escape }}">{{ ran.status | escape }}
{%- if ran.duration is number %} · {{ '%.1f' | format(ran.duration) }} s{% endif %}</div>
{%- endif %}
{{ super() }}
{%- endblock codecell %}
"""


def notebook_page(content: bytes, title: str) -> bytes:
    """The page of an .ipynb. Raises FailedPrecondition where no page can be made of it, Unavailable where too many
    are being made."""
    if len(content) > MAX_BYTES:
        raise FailedPrecondition(
            f"the notebook has {len(content):,} bytes, and pages are made of up to {MAX_BYTES:,}: get it as ipynb"
        )
    with _TURNS.take():
        clean = nh3.clean(
            _body(content),
            tags=_TAGS,
            clean_content_tags={"script", "style"},
            attributes=_ATTRIBUTES,
            attribute_filter=_kept,
            filter_style_properties=_STYLES,
            url_schemes={"data", "http", "https", "mailto"},
        )
    head = f"<meta charset=utf-8><title>{html.escape(title)}</title><style>{_style()}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{clean}</body></html>".encode()


def _kept(tag: str, attribute: str, value: str) -> str | None:
    """Pictures are what the notebook holds itself; nothing else is data."""
    if attribute in ("src", "href") and value.lower().startswith("data:") != (tag == "img"):
        return None
    return value


def _body(content: bytes) -> str:
    # Their parsers and templates take a second to load, which only those who look at notebooks wait for.
    import nbformat  # noqa: PLC0415
    from jinja2 import TemplateError  # noqa: PLC0415
    from nbconvert import HTMLExporter  # noqa: PLC0415

    make: Any = HTMLExporter
    read: Any = nbformat.reads
    wrong = (ValueError, TypeError, AttributeError, LookupError, RecursionError, AssertionError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body, _ = make(raw_template=_TEMPLATE).from_notebook_node(read(content.decode(), as_version=4))
    except (*wrong, nbformat.ValidationError, TemplateError) as error:
        why = f"{type(error).__name__}: {error}"[:200]
        raise FailedPrecondition(f"no page can be made of this notebook ({why}): get it as ipynb") from error
    return str(body)


@cache
def _style() -> str:
    return (_FOLDER / "page.css").read_text()
