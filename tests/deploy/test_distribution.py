"""What `pip install odradek` brings: all packages, their types, and the schemas that old records need."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from ..cli.running import ROOT


def test_the_wheel_has_all_that_the_source_has(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    expected = set()
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        folder = ROOT / package
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(path.relative_to(folder.parent).as_posix())
    assert inside == expected
    for package in ("odradek", "odradek_engine", "odradek_log", "odradek_schemas"):
        assert f"{package}/py.typed" in inside
    assert any(name.startswith("odradek_schemas/avsc/archive/") for name in inside)


def test_the_licence_is_the_declared_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
