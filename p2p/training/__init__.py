"""One run: phases, batches, the loss of a batch, the loop, checkpoints. `Trainer` is the entrance.

Imports the method, the study's parameters and `p2p.data`.
"""

from p2p.training.trainer import Trainer

__all__ = ["Trainer"]
