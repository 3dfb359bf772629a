"""Joining a Ray cluster, or starting one on this machine, where only holders of a token may enter.

Whoever reaches a Ray cluster may run code on it. So token mode is always on, a cluster that is
started here listens on loopback, and nothing is reported to anybody (tested with Ray 2.60.0). What
listens all the same, and where: service/SECURITY.md.
"""

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .errors import LsrError, MissingExtra, UsageError

log = logging.getLogger("lsr.ray")

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
ADDRESS = "RAY_ADDRESS"
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""0: clusters have one machine and listen on loopback, on any system; what `ray.init` is told of
addresses does not do it, since Ray takes the first address of the machine for loopback's."""
LOOPBACK = "127.0.0.1"
CARRIED = ("LSR_DATA", "LSR_CACHE", "LSR_QUIET")
"""Settings of ours that workers on other machines get too."""


@contextmanager
def cluster(purpose: str, *, dashboard: bool = False) -> Iterator[None]:
    """Be connected to the cluster at RAY_ADDRESS, or to one started here for as long as the block.

    Every machine of a cluster needs this package, the same paths and the token; `purpose` is named
    where Ray is not installed. Raises `MissingExtra`, and `UsageError` where token mode is switched
    off or there is no cluster at the address.
    """
    environment = dict(os.environ)
    secure(environment)
    if sys.modules.get("ray") is not None and not os.environ.get(MODE):
        raise UsageError(
            f"ray was imported before {MODE} was set, and reads it only then; set {MODE}=token "
            "before the program starts"
        )
    os.environ.update(environment)
    try:
        import ray
    except ImportError:
        raise MissingExtra(purpose, extra="ray", package="ray") from None
    address = environment.get(ADDRESS)
    told: dict[str, Any] = {}
    if not address:
        told = {"include_dashboard": dashboard, "dashboard_host": LOOPBACK}
    if not address or address.startswith(
        LOOPBACK
    ):  # else Ray looks at this machine's first address
        told["_node_ip_address"] = LOOPBACK
    carried = {name: environment[name] for name in CARRIED if name in environment}
    if ray.is_initialized():
        yield
        return
    with ExitStack() as stack:
        if not address:
            told["_temp_dir"] = stack.enter_context(_own_folder())
        try:
            ray.init(
                address=address or "local",
                logging_level=logging.WARNING,
                log_to_driver=False,
                runtime_env={"env_vars": carried},
                **told,
            )
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise UsageError(
                f"no Ray cluster can be joined at {ADDRESS}={address}: {error}; start one with "
                f"{MODE}=token ray start --head, or unset {ADDRESS} for one on this machine"
            ) from error
        stack.callback(ray.shutdown)
        for node in [] if address else ray.nodes():
            if not ip_address(node["NodeManagerAddress"]).is_loopback:
                log.warning(
                    "this Ray listens on %s, not on loopback alone: set %s=0 before anything "
                    "imports it",
                    node["NodeManagerAddress"],
                    ONE_MACHINE,
                )
        yield


@contextmanager
def _own_folder() -> Iterator[str]:
    """A folder for sockets, logs and code of a cluster in which nobody else may write.

    Ray's own, /tmp/ray, everybody may. It is short, for the path of a socket must be: Ray adds 75
    of the 103 to 107 bytes that it may have.
    """
    place = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="lsr-ray-",
        dir=place if len(place) < 10 else "/tmp",
        ignore_cleanup_errors=True,  # the last of the cluster may still write
    ) as folder:
        yield f"{folder}/ray"


def secure(environment: dict[str, str]) -> None:
    """Put token mode into an environment; a cluster that is started here gets a token of its own
    where there is none, and listens on loopback. Raises `UsageError` where somebody switched token
    mode off.

    >>> environment = {"RAY_AUTH_TOKEN": "x"}
    >>> secure(environment)
    >>> environment["RAY_AUTH_MODE"], environment["RAY_AUTH_TOKEN"]
    ('token', 'x')
    """
    mode = environment.setdefault(MODE, "token")
    if mode.lower() != "token":
        raise UsageError(
            f"{MODE}={mode}: whoever reaches such a cluster may run code on it; unset {MODE}, or "
            "set it to token on every machine"
        )
    known = environment.get(TOKEN) or environment.get(TOKEN_PATH)
    if not known and not environment.get(ADDRESS) and not _token_file().is_file():
        environment[TOKEN] = secrets.token_hex(32)
    if not environment.get(ADDRESS):
        environment.setdefault(ONE_MACHINE, "0")
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def unwrapped(error: Exception) -> Exception:
    """The error of ours that a task raised, out of Ray's wrapping; else the error itself."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, LsrError) else error


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"
