"""Keep pytest out: these are benchmarks, run by `make bench`, never timed tests."""

collect_ignore_glob = ["*.py"]
