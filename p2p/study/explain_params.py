"""The parameters of the page that explains one image (notebook 13)."""

from __future__ import annotations

from pydantic import Field

from p2p.study.params import Strict


class ExplainParams(Strict):
    """One image, explained by one run: the parameters of `notebooks/13_explain.py`."""

    study: str = "quick"
    run: str = Field("student-small_half-small_sixth-paper-s0", description="The network that explains.")
    image: str = Field("", description="A photograph's path; empty: a test image of the run's own data set.")
    number: int = Field(0, ge=0, description="Which test image, where no photograph is named.")
    top_k: int = Field(5, ge=1, description="Prototypes told one by one.")
    runs: str = "runs"
