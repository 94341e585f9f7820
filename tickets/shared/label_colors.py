"""Colours of projects and tags: a number of the palette `data-hue` of the styles, the same on every page."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from models import Project, Tag

HUES = 8
TAG_HUES = {tag.value: hue for hue, tag in enumerate(Tag)}


class Label(NamedTuple):
    """A short name with its colour, and the title that explains it."""

    name: str
    hue: int
    title: str = ""


def label_project(project: Project) -> Label:
    """Label a project by its slug. The first eight projects have a colour each."""
    return Label(project.slug, project.id % HUES, project.name)


def label_tag(tag: str) -> Label:
    return Label(tag, TAG_HUES.get(tag, crc32(tag.encode()) % HUES))
