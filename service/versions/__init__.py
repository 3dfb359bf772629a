"""Versions of what is served: snapshots, aliases, rebuilt indexes, and the ways back.

snapshots.py   verified copies in DIR/snapshots, made and restored while everybody goes on
gate.py        whether a new index answers judged queries as well as the old one
rebuilding.py  what is asked of the worker
"""
