"""Find a study by its name or path."""

from __future__ import annotations

from pathlib import Path

from attention_arena.errors import ConfigError
from attention_arena.spelling import unknown_name


def find_study(name_or_path: str | Path) -> Path:
    """Return the path of a study: a file's, or that of a shipped study by its name (`lra`, `claims/linformer`).

    Raises ConfigError, with the names of all shipped studies, where neither exists.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = shipped_studies()
    name = str(name_or_path)
    if name in shipped:
        return shipped[name]
    if path.is_dir():
        raise ConfigError(f"{name} is a folder; name the study's YAML file")
    if path.suffix in (".yaml", ".yml") or path.is_absolute():
        raise ConfigError(f"there is no file {name}; shipped studies go by their names: {', '.join(shipped)}")
    raise ConfigError(unknown_name("study", name, shipped))


def shipped_studies(folders: tuple[Path, ...] | None = None) -> dict[str, Path]:
    """Return the studies that come with the package, by name: those of `folders`, the first of which wins."""
    found: dict[str, Path] = {}
    for folder in study_folders() if folders is None else folders:
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def study_folders() -> tuple[Path, ...]:
    """Return where studies are shipped: the installed package's folder, and a checkout's."""
    package = Path(__file__).parents[1]
    checkout = package.parent.parent
    folders = [package / "studies"]
    if package.parent.name == "core" and (checkout / "pyproject.toml").is_file():
        folders.append(checkout / "studies")
    return tuple(folder for folder in folders if folder.is_dir())
