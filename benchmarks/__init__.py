"""Timings next to the libraries that a user would choose instead, and next to the minimum number of passes."""
