"""Old name of `film_strip`."""  # alias: until merged

from .film_strip import TILE

__all__ = ["TILE"]
