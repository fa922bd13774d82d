"""The version of galtrans that every output states."""

from importlib.metadata import version

VERSION = version("galtrans")
