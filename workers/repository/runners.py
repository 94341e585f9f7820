"""The usual test and build programs of a repository, recognised by its files."""

from __future__ import annotations

from pathlib import Path

PYTHON = ("pytest", "python", "python3", "pip list", "tox", "ruff", "mypy")
NODE = ("npm", "npx", "node", "yarn", "pnpm")
RUNNERS: dict[str, tuple[str, ...]] = {
    "pyproject.toml": PYTHON,
    "setup.py": PYTHON,
    "setup.cfg": PYTHON,
    "tox.ini": PYTHON,
    "requirements.txt": PYTHON,
    "package.json": NODE,
    "Makefile": ("make",),
    "CMakeLists.txt": ("cmake", "ctest", "make"),
    "Cargo.toml": ("cargo",),
    "go.mod": ("go",),
    "pom.xml": ("mvn",),
    "build.gradle": ("gradle", "./gradlew"),
    "build.gradle.kts": ("gradle", "./gradlew"),
    "Gemfile": ("bundle", "rake"),
}


def find_runners(folder: Path) -> list[str]:
    """Find the programs with which work in this folder is usually built and tested."""
    commands = [program for name, programs in RUNNERS.items() if (folder / name).is_file() for program in programs]
    tests = PYTHON if any(folder.glob("test*.py")) or any(folder.glob("tests/*.py")) else ()
    return list(dict.fromkeys((*commands, *tests)))
