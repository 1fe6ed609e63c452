"""Plug-ins made for tests: the smallest stack of real processes, and faults that misbehave."""
