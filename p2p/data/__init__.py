"""Images: readers, decoding, drawn birds, augmentation, streaming, download. `load_images` is the entrance.

Imports the study's parameters and the method's top level, no other room.
"""

from p2p.data.augment import augment
from p2p.data.images import SPLITS, ImageSet, load_images

__all__ = ["SPLITS", "ImageSet", "augment", "load_images"]
