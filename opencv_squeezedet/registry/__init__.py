"""Published models by name: the table that lists them, their files, and how weights are fetched."""

from opencv_squeezedet.registry.entry import CACHE, Entry, State, cache_folder
from opencv_squeezedet.registry.published import MIRROR, entries, fetch, find_entry, find_network, names

__all__ = ["CACHE", "MIRROR", "Entry", "State", "cache_folder", "entries", "fetch", "find_entry", "find_network", "names"]
