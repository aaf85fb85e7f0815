"""Settings of a project: files first, then environment variables, then what the call says.

``assets.toml`` or ``[tool.assets]`` in ``pyproject.toml``, found in the working directory or the
nearest folder above it, which is then the project's root. Unknown names are errors.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assets_core.errors import ConfigError

ENVIRONMENT_PREFIX = "ASSETS_"
CONFIG_PREFIX = "ASSETS_CONFIG__"
_NOT_SETTINGS = frozenset({"ASSETS_CRASH_AT"})


class StoreSettings(BaseModel):
    """One IO manager: its ``type`` (an entry point's name) and that type's options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str


class Settings(BaseModel):
    """What a project can be told; every field has a default that works.

    ``module`` is what is loaded (a dotted name or a path), ``state`` the state store's URL,
    ``environment`` the name space of pointers, ``jobs`` how many steps run at a time,
    ``lease_seconds`` how long a run may give no sign of life before others may take over,
    ``code_roots`` further folders (relative to the root) whose code is the project's own,
    ``output_bytes`` how much is kept of what one attempt at a step prints and logs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    module: str = "definitions"
    state: str = ""
    environment: str = Field("prod", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")
    jobs: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1, le=1024)
    lease_seconds: float = Field(60.0, gt=0.1, le=86_400)
    code_roots: tuple[str, ...] = ()
    output_bytes: int = Field(10_000_000, ge=1_000)
    io: Mapping[str, StoreSettings] = Field(default_factory=dict)
    config: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundSettings:
    """Where settings came from: the project's root and the file (None without one)."""

    root: Path
    file: Path | None
    values: Mapping[str, Any]


def find(start: Path) -> FoundSettings:
    """The nearest settings at or above ``start``; ``start`` itself is the root without any."""
    for folder in (start, *start.parents):
        own = folder / "assets.toml"
        if own.is_file():
            return FoundSettings(folder, own, _plain(own, _read(own)))
        shared = folder / "pyproject.toml"
        if shared.is_file():
            tool = _read(shared).get("tool")
            given = tool.get("assets") if isinstance(tool, dict) else None
            if given is not None:
                return FoundSettings(folder, shared, _table(shared, given))
    return FoundSettings(start, None, {})


def _plain(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Refuse the spelling of pyproject.toml, naming the right one."""
    tool = values.get("tool")
    if not isinstance(tool, dict) or "assets" not in tool:
        return values
    tables = [*_tables(tool["assets"]), "io.default"]
    raise ConfigError(
        "[tool.assets] is written in pyproject.toml only; this is assets.toml.",
        facts={"in": path},
        hint=f"Leave out 'tool.assets.': write [{tables[0]}] for [tool.assets.{tables[0]}], and "
        "single settings at the top of the file.",
    )


def _table(path: Path, own: Any) -> dict[str, Any]:
    if isinstance(own, dict):
        return own
    raise ConfigError(
        "[tool.assets] is not a table of settings.",
        facts={"in": path, "given": repr(own)},
        hint="Write [tool.assets], and below it settings such as module = 'definitions'.",
    )


def _tables(values: Any, path: str = "") -> Iterator[str]:
    """The dotted names of the innermost tables."""
    items = values.items() if isinstance(values, dict) else ()
    inner = {name: value for name, value in items if isinstance(value, dict)}
    if path and not inner:
        yield path
    for name, value in inner.items():
        yield from _tables(value, f"{path}.{name}" if path else name)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        said = error.strerror or error
        raise ConfigError(f"{path.name} can't be read: {said}.", facts={"file": path}) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name} is not valid TOML: {error}", facts={"file": path}
        ) from error


def load_settings(
    found: FoundSettings, *, given: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Settings:
    """Settings out of file, environment and call, the later winning.

    Raises ConfigError naming the setting, where it was set and what it may be.
    """
    variables = _variables(os.environ if environ is None else environ)
    merged: dict[str, Any] = {**found.values, **variables}
    merged["config"] = _merged_config(found, environ)
    merged.update({name: value for name, value in given.items() if value is not None})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _config_error(error, found, variables, given) from error


def _variables(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in Settings.model_fields}
    found: dict[str, Any] = {n: environ[key] for key, n in names.items() if environ.get(key)}
    if "code_roots" in found:
        found["code_roots"] = tuple(filter(None, found["code_roots"].split(os.pathsep)))
    return found


def _merged_config(
    found: FoundSettings, environ: Mapping[str, str] | None
) -> dict[str, dict[str, Any]]:
    raw = found.values.get("config", {})
    for name, values in raw.items() if isinstance(raw, Mapping) else [("", raw)]:
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"config{'.' if name else ''}{name} = {values!r} belongs to no asset.",
                facts={"in": found.file or "the call"},
                hint="Write a table for each asset, [config.orders] with limit = 3 in it "
                '([config."*"] for every asset that has the key).',
            )
    config = {asset: dict(values) for asset, values in raw.items()}
    for key, value in sorted((os.environ if environ is None else environ).items()):
        if key.startswith(CONFIG_PREFIX):
            asset, _, name = key.removeprefix(CONFIG_PREFIX).lower().partition("__")
            if not name:
                raise ConfigError(
                    f"{key} names no config key.",
                    hint=f"Write {CONFIG_PREFIX}<ASSET>__<KEY>=value.",
                )
            config.setdefault(asset, {})[name] = value
    return config


def _config_error(
    error: ValidationError,
    found: FoundSettings,
    variables: Mapping[str, Any],
    given: Mapping[str, Any],
) -> ConfigError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    top = str(first["loc"][0]) if first["loc"] else ""
    where: object = found.file or "the call"
    if given.get(top) is not None:
        where = f"the option --{top}"
    elif top in variables:
        where = f"environment variable {ENVIRONMENT_PREFIX}{top.upper()}"
    hint = ""
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(top, Settings.model_fields, n=1)
        known = ", ".join(Settings.model_fields)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are: {known}."
        return ConfigError(f"There is no setting {name!r}.", facts={"in": where}, hint=hint)
    if first["type"] == "string_pattern_mismatch":
        hint = "It begins with a letter; letters, digits, - and _ follow, 63 characters at most."
        return ConfigError(
            f"Setting {name!r} can't be {first.get('input')!r}.", facts={"in": where}, hint=hint
        )
    return ConfigError(
        f"Setting {name!r} can't be {first.get('input')!r}: {first['msg']}.", facts={"in": where}
    )
