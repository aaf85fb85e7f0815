"""Settings and config: where they come from, who wins, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assets_core.errors import ConfigError
from assets_core.settings import Settings, find, load_settings


def load(folder: Path, environ: dict[str, str] | None = None, **given: Any) -> Settings:
    return load_settings(find(folder), given=given, environ=environ or {})


def test_everything_has_a_default(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.module, settings.environment, settings.state) == ("definitions", "prod", "")


def test_the_call_wins_over_variables_and_those_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text('module = "a"\njobs = 2\nenvironment = "one"\n')
    variables = {"ASSETS_JOBS": "3", "ASSETS_ENVIRONMENT": "two"}
    settings = load(tmp_path, variables, environment="three")
    assert (settings.module, settings.jobs, settings.environment) == ("a", 3, "three")


def test_pyproject_holds_settings_too(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.assets]\nmodule = "b"\n')
    assert load(tmp_path).module == "b"


def test_settings_are_found_above_and_their_folder_is_the_root(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text("jobs = 2\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find(below).root == tmp_path


def test_a_pyproject_of_another_tool_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert find(tmp_path).file is None


def test_an_unknown_setting_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text("job = 2\n")
    with pytest.raises(ConfigError, match="Did you mean 'jobs'"):
        load(tmp_path)


def test_a_wrong_value_names_where_it_was_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ASSETS_JOBS"):
        load(tmp_path, {"ASSETS_JOBS": "many"})


@pytest.mark.parametrize("name", ["../x", "", "a b", "1x", "x" * 64])
def test_an_environment_name_cannot_leave_its_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, environment=name)


def test_broken_toml_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text("jobs = = 2\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path)


def test_config_comes_from_file_and_variables(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text("[config.clean]\nlimit = 1\nunit = 'C'\n")
    settings = load(tmp_path, {"ASSETS_CONFIG__CLEAN__LIMIT": "5"})
    assert settings.config == {"clean": {"limit": "5", "unit": "C"}}


def test_a_config_variable_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no config key"):
        load(tmp_path, {"ASSETS_CONFIG__CLEAN": "5"})


@pytest.mark.parametrize("text", ['[tool]\nassets = "x"\n', "[[tool.assets]]\njobs = 2\n"])
def test_settings_in_pyproject_that_are_no_table_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match="not a table"):
        load(tmp_path)


def test_a_pyproject_whose_tools_are_no_table_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    assert find(tmp_path).file is None
