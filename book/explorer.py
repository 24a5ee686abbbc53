"""The frame of the page "Which prototype is that?"; `_static/explorer.js` fills it in the reader's browser."""

from __future__ import annotations

from html import escape

from studies import Study

DATA = "explorer/data.js"  # of a study's results, see p2p.evaluation.explorer
FRAME = """\
```{{raw}} html
<div id="explorer">
<noscript><p>This page chooses and draws in your browser: it needs JavaScript, which is off. The galleries of each
study, in the archive, show a choice of prototypes without it.</p></noscript>
<div data-part="body" hidden>
<form class="choices" aria-label="What to show" onsubmit="return false">
<label>Study <select data-part="study">{studies}</select></label>
<label>Show <select data-part="view">
<option value="prototypes">prototypes</option><option value="images">test images</option></select></label>
<label>Class <select data-part="class"></select></label>
<label>Patch shows <select data-part="on"></select></label>
<label>Order <select data-part="order">
<option value="">by number</option><option value="differ">disagreements first</option></select></label>
</form>
<p data-part="count"></p>
<ul class="list" data-part="list" aria-label="To choose from"></ul>
<p data-part="status" role="status" class="visually-hidden"></p>
<div data-part="detail"></div>
<p class="quiet" data-part="networks"></p>
</div>
</div>
<script src="_static/drawing.js"></script>
<script src="_static/explorer.js"></script>
```
"""


def has_explorer(study: Study) -> bool:
    """Whether there is something to explore, all of it whole."""
    return (study.folder / DATA).is_file() and not any(name.startswith("explorer/") for name in study.damaged)


def explorer(studies: list[Study]) -> str:
    """The frame with the studies that there are, in their order."""
    found = [(escape(study.name), escape(study.title)) for study in studies if has_explorer(study)]
    options = [f'<option value="{name}">{title}</option>' for name, title in found]
    if not options:
        return "No study in this copy has prototypes to explore yet: `make study` runs the quick one.\n"
    return FRAME.format(studies="".join(options))
