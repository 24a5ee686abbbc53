"""What trained networks answer to images, the metrics of a triple, and the claims judged over seeds.

Imports the method, the study's parameters, `p2p.data` and `p2p.training`.
"""

from p2p.evaluation.runs import finish_run, load_run, respond

__all__ = ["finish_run", "load_run", "respond"]
