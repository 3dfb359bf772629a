"""Versions of what is served: snapshots, aliases, rebuilt indexes, and the ways back.

snapshots.py   verified copies in DIR/snapshots, made and restored while everybody goes on
"""
