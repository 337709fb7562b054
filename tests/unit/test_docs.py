"""The pages for people: what they link to and name is there."""

import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer
import yaml

from server.api.app import create_app
from server.cli import app as command_line
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
