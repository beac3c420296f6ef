"""Old name of `worker_thread`."""  # alias: until merged

from .worker_thread import Worker

__all__ = ["Worker"]
