"""An installation's name says everything: naming, settings and deploys for one server.

Importing this imports nothing else; `stagetools.utils` is where to begin.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
