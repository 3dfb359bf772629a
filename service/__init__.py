"""Live collections over HTTP: `create_app` for an ASGI server, `serve` for a process of its own."""

from .app import create_app
from .limits import Limits
from .server import serve, serve_settings
from .settings import Settings

__all__ = ["Limits", "Settings", "create_app", "serve", "serve_settings"]
