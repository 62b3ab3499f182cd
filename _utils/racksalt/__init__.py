"""Racksalt: a private cloud out of a rack of boxes, with Salt and libvirt alone."""

__version__ = "0.1.0"
