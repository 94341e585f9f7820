from __future__ import annotations

import pytest

from workers.agents.script.blocks import END_OF_DESCRIPTION, InvalidBlock, Step, parse_steps


def scripts(prompt: str) -> list[str]:
    return [step.script for step in parse_steps(prompt)]


def test_sh_and_bash_blocks_are_steps_in_their_order() -> None:
    prompt = "MC-1: Do it\n\n```sh\necho one\n```\ntext\n~~~bash\necho two\n~~~\n"
    assert [(step.shell, step.script) for step in parse_steps(prompt)] == [("sh", "echo one\n"), ("bash", "echo two\n")]


def test_blocks_of_other_languages_and_without_a_language_are_not_run() -> None:
    assert scripts("```python\nprint()\n```\n```\nrm -rf x\n```\n```shell\necho\n```") == []


def test_a_block_shown_inside_a_longer_fence_is_not_run() -> None:
    assert scripts("````markdown\n```sh\nrm -rf x\n```\n````\n") == []


def test_a_block_that_is_never_closed_is_not_run() -> None:
    assert scripts("```sh\nrm -rf x\n") == []


def test_what_follows_the_description_is_not_run() -> None:
    prompt = f"```sh\necho mine\n```\n{END_OF_DESCRIPTION}\n## Comments\n```sh\necho theirs\n```\n"
    assert scripts(prompt) == ["echo mine\n"]


def test_a_block_of_another_phase_is_left_out() -> None:
    described = "```sh\necho all\n```\n```sh phase=Dev\necho dev\n```\n```sh phase=QA\necho qa\n```\n"
    assert scripts(f"{described}<!-- phase: QA -->\n{END_OF_DESCRIPTION}") == ["echo all\n", "echo qa\n"]
    assert scripts(described) == ["echo all\n"]


def test_an_indented_fence_takes_its_indentation_from_the_lines() -> None:
    assert scripts("  ```sh\n  if true; then\n    echo x\n  fi\n  ```\n") == ["if true; then\n  echo x\nfi\n"]


def test_the_info_string_sets_timeout_folder_and_environment() -> None:
    parsed = parse_steps("```sh timeout=2.5 cwd=docs NAME='two words'\n\n# say it\necho\n```")
    assert parsed == [Step("sh", "\n# say it\necho\n", 2.5, "docs", (("NAME", "two words"),))]
    assert parsed[0].title == "# say it"


@pytest.mark.parametrize(
    "info", ["timeout=soon", "timeout=-1", "cwd=/etc", "cwd=a/../..", "quickly", "A-B=1", "NAME='open"]
)
def test_an_info_string_that_is_not_understood_is_refused(info: str) -> None:
    with pytest.raises(InvalidBlock):
        parse_steps(f"```sh {info}\necho\n```")
