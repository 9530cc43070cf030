"""Subclassing what `@ray.remote` has wrapped (host: `openrlhf/trainer/ray/*.py`, Ray 2.55)."""

import inspect
import sys
from typing import Any


def original_class(actor: Any) -> Any:
    """The class as it was written, from its Ray actor class; Ray refuses to subclass the latter.

    In the host's module the class's own name stands for the Ray actor class, so pickle would take the original and its
    methods for unimportable and send copies. A copied method's `super()` then belongs to a copied class, and fails.
    So the original gets a second, importable name there; a worker finds it by importing the module of our subclass.
    """
    original = actor.__ray_metadata__.modified_class.__ray_actor_class__
    name = f"_{original.__name__}_original"
    setattr(sys.modules[original.__module__], name, original)
    original.__qualname__ = name
    for method in vars(original).values():
        if inspect.isfunction(method):
            method.__qualname__ = f"{name}.{method.__name__}"
    return original
