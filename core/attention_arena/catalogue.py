"""Everything that plugins register, by name, with what is wrong with the plugins that could not be used.

Each plugin is loaded and asked on its own, so that a broken one costs nothing but itself. Where two claim one name,
neither has it: which of them came first must not decide what a study compares.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from importlib.metadata import entry_points as installed_entry_points
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import pluggy

from attention_arena.errors import ConfigError
from attention_arena.hooks import GROUP, PLUGIN_API, Hooks
from attention_arena.spelling import unknown_name

if TYPE_CHECKING:
    from attention_arena.datasets import DataSet
    from attention_arena.measure import Measure
    from attention_arena.task import Task
    from attention_arena.variant import Variant

T = TypeVar("T")
Kind = Literal["variant", "task", "measure", "figure", "executor"]
HOOKS: Mapping[str, Kind] = {
    "register_variants": "variant",
    "register_tasks": "task",
    "register_measures": "measure",
    "register_figures": "figure",
    "register_executors": "executor",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names become parts of folder names."""


@dataclass(frozen=True, order=True)
class Plugin:
    """An entry point and the distribution that brings it."""

    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}"


@dataclass(frozen=True)
class PluginProblem:
    """Why a plugin, or one thing that it registers, cannot be used."""

    plugin: Plugin
    message: str
    kind: Kind | None = None
    name: str | None = None
    """`kind` and `name` of what is lost, where that is known; otherwise all that the plugin has."""

    def __str__(self) -> str:
        return f"{self.plugin}: {self.message}"


class LoadedPlugin(NamedTuple):
    """A plugin and the module or object with its hooks."""

    plugin: Plugin
    hooks: object


class _Entry(NamedTuple):
    plugin: Plugin
    kind: Kind
    name: str
    value: Any


@dataclass(frozen=True)
class Catalogue:
    """What can be asked for, by name."""

    variants: Mapping[str, Variant] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    executors: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[tuple[Kind, str], Plugin] = field(default_factory=dict)
    problems: tuple[PluginProblem, ...] = ()

    def entries(self) -> dict[Kind, Mapping[str, Any]]:
        """Return everything by kind."""
        return {
            "variant": self.variants,
            "task": self.tasks,
            "measure": self.measures,
            "figure": self.figures,
            "executor": self.executors,
        }

    def variant(self, name: str) -> Variant:
        """Return the variant, or raise ConfigError."""
        return self._find("variant", name, self.variants)

    def task(self, name: str) -> Task:
        """Return the task, or raise ConfigError."""
        return self._find("task", name, self.tasks)

    def measure(self, name: str) -> Measure:
        """Return the measure, or raise ConfigError."""
        return self._find("measure", name, self.measures)

    def figure(self, name: str) -> Any:
        """Return the figure, or raise ConfigError."""
        return self._find("figure", name, self.figures)

    def executor(self, name: str) -> Any:
        """Return the executor, or raise ConfigError."""
        return self._find("executor", name, self.executors)

    def data_sets(self) -> dict[str, dict[str, DataSet]]:
        """Return the official data that tasks read: name -> task -> what the task knows of it.

        Tasks that give one name mean one release, of which each reads its part.
        """
        found: dict[str, dict[str, DataSet]] = {}
        for task in self.tasks.values():
            for data_set in task.datasets:
                found.setdefault(data_set.name, {})[task.name] = data_set
        return dict(sorted(found.items()))

    def data_set(self, name: str) -> dict[str, DataSet]:
        """Return what each task that reads the data set knows of it, or raise ConfigError."""
        known = self.data_sets()
        if name not in known:
            raise ConfigError(unknown_name("data set", name, known))
        return known[name]

    def plugin_of(self, kind: Kind, name: str) -> Plugin:
        """Return the plugin that registered it, or raise ConfigError."""
        known = {each: plugin for (of_kind, each), plugin in self.origins.items() if of_kind == kind}
        return self._find(kind, name, known)

    def _find(self, kind: Kind, name: str, known: Mapping[str, T]) -> T:
        if name in known:
            return known[name]
        message = unknown_name(kind, name, known)
        lost = [str(problem) for problem in self.problems if _would_provide(problem, kind, name)]
        if lost:
            raise ConfigError(f"{kind} {name!r} cannot be used: {'; '.join(lost)}")
        broken = sorted({problem.plugin.name for problem in self.problems if problem.name is None})
        if broken:
            message += f" (plugins that could not be used: {', '.join(broken)})"
        raise ConfigError(message)


def load_catalogue(
    entry_points: Iterable[EntryPoint] | None = None, kinds: Collection[Kind] | None = None
) -> Catalogue:
    """Load plugins and collect what they register.

    `entry_points` defaults to the installed ones of the group `attention_arena`. `kinds` are the kinds to ask for, all
    of them by default; a process that trains asks for no figures, and so loads nothing that draws.
    """
    if entry_points is None:
        entry_points = installed_entry_points(group=GROUP)
    by_name: dict[str, dict[Plugin, EntryPoint]] = defaultdict(dict)
    for entry_point in entry_points:
        by_name[entry_point.name][_plugin(entry_point)] = entry_point
    loaded: list[LoadedPlugin] = []
    problems: list[PluginProblem] = []
    for name in sorted(by_name):
        claims = by_name[name]
        if len(claims) > 1:
            problems += _rivals(sorted(claims))
            continue
        [(plugin, entry_point)] = claims.items()
        try:
            loaded.append(LoadedPlugin(plugin, entry_point.load()))
        # A plugin is foreign code, which can fail in any way at all while it is imported.
        except (Exception, SystemExit) as error:
            problems.append(PluginProblem(plugin, f"failed to import: {_cause(error)}"))
    return collect_catalogue(loaded, problems, kinds)


def collect_catalogue(
    loaded: Iterable[LoadedPlugin], problems: Iterable[PluginProblem] = (), kinds: Collection[Kind] | None = None
) -> Catalogue:
    """Ask plugins that are loaded already, for `kinds` or for all; `problems` are those met before."""
    found: list[_Entry] = []
    problems = list(problems)
    for plugin, hooks in sorted(loaded, key=lambda each: each.plugin):
        entries, met = _ask(plugin, hooks, kinds)
        found += entries
        problems += met
    claims: dict[tuple[Kind, str], list[_Entry]] = defaultdict(list)
    for entry in found:
        claims[entry.kind, entry.name].append(entry)
    kept = {key: entries[0] for key, entries in claims.items() if len(entries) == 1}
    for entries in claims.values():
        problems += _conflicts(entries)

    def of_kind(kind: Kind) -> dict[str, Any]:
        return {name: entry.value for (each, name), entry in sorted(kept.items()) if each == kind}

    return Catalogue(
        variants=of_kind("variant"),
        tasks=of_kind("task"),
        measures=of_kind("measure"),
        figures=of_kind("figure"),
        executors=of_kind("executor"),
        origins={key: entry.plugin for key, entry in kept.items()},
        problems=tuple(problems),
    )


def _ask(plugin: Plugin, hooks: object, kinds: Collection[Kind] | None) -> tuple[list[_Entry], list[PluginProblem]]:
    """Return what one plugin registers, and what is wrong with it."""
    interface = getattr(hooks, "PLUGIN_API", PLUGIN_API)
    if interface != PLUGIN_API:
        message = (
            f"was built for plugin interface {interface}, and this is interface {PLUGIN_API}; update one of the two"
        )
        return [], [PluginProblem(plugin, message)]
    # One manager each: pluggy leaves a refused plugin half registered, and one plugin's misspelt hook is not another's.
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(hooks, name=plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        return [], [PluginProblem(plugin, _describe_refusal(manager, error))]
    if not manager.get_hookcallers(hooks):
        message = f"has no hooks; mark functions named {', '.join(HOOKS)} with @hookimpl"
        return [], [PluginProblem(plugin, message)]
    entries: list[_Entry] = []
    problems: list[PluginProblem] = []
    for hook, kind in HOOKS.items():
        if kinds is not None and kind not in kinds:
            continue
        try:
            results = getattr(manager.hook, hook)()
        # As on import, the failure may be of any kind.
        except (Exception, SystemExit) as error:
            problems.append(PluginProblem(plugin, f"{hook} failed: {_cause(error)}"))
            continue
        for values in results:
            _sort_out(plugin, hook, kind, values, entries, problems)
    return entries, problems


def _describe_refusal(manager: pluggy.PluginManager, error: pluggy.PluginValidationError) -> str:
    misspelt = [
        name
        for name, caller in sorted(vars(manager.hook).items())
        if isinstance(caller, pluggy.HookCaller) and not caller.has_spec()
    ]
    if misspelt:
        return "; ".join(unknown_name("hook", name, HOOKS) for name in misspelt)
    return f"has a hook that does not fit the interface: {' '.join(str(error).split())}"


def _sort_out(
    plugin: Plugin, hook: str, kind: Kind, values: Any, entries: list[_Entry], problems: list[PluginProblem]
) -> None:
    """Append each value that is what the hook promises to `entries`, and a problem for each that is not."""
    if not isinstance(values, Sequence) or isinstance(values, str) or hasattr(values, "_fields"):
        problems.append(PluginProblem(plugin, f"{hook} must return a list, got {type(values).__name__}"))
        return
    for value in values:
        fault = _fault(kind, value)
        if fault is None:
            entries.append(_Entry(plugin, kind, value.name, value))
        else:
            name = getattr(value, "name", None)
            known = name if isinstance(name, str) else None
            problems.append(PluginProblem(plugin, f"{hook} returned {fault}", kind, known))


def _fault(kind: Kind, value: Any) -> str | None:
    """Return what is wrong with a registered value, or None."""
    from attention_arena.measure import Measure
    from attention_arena.task import Task
    from attention_arena.variant import Options, Variant

    expected: type | None = {"variant": Variant, "task": Task, "measure": Measure}.get(kind)
    if expected is not None and not isinstance(value, expected):
        return f"{type(value).__name__} where a {expected.__name__} is expected"
    name = getattr(value, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"a {kind} named {name!r}; a name has letters, digits, '_' and '-', and begins with a letter or a digit"
    if expected is not None and not (isinstance(value.options, type) and issubclass(value.options, Options)):
        return f"{kind} {name!r} whose options are not a subclass of attention_arena.variant.Options"
    return None


def _conflicts(entries: Sequence[_Entry]) -> list[PluginProblem]:
    """Return a problem for each plugin that registers a name which is registered more than once."""
    if len(entries) == 1:
        return []
    kind, name = entries[0].kind, entries[0].name
    owners = sorted({entry.plugin for entry in entries})
    if len(owners) == 1:
        return [PluginProblem(owners[0], f"registers {kind} {name!r} {len(entries)} times; none is used", kind, name)]
    return [
        PluginProblem(
            owner,
            f"registers {kind} {name!r}, and so does {_others(owner, owners)}; neither is used: rename one",
            kind,
            name,
        )
        for owner in owners
    ]


def _rivals(claims: Sequence[Plugin]) -> list[PluginProblem]:
    return [
        PluginProblem(
            plugin,
            f"claims a plugin name that {_others(plugin, claims)} claims too; neither is used: uninstall one",
        )
        for plugin in claims
    ]


def _others(plugin: Plugin, plugins: Sequence[Plugin]) -> str:
    return " and ".join(str(other) for other in plugins if other != plugin)


def _would_provide(problem: PluginProblem, kind: Kind, name: str) -> bool:
    """Whether the plugin would have provided the name: known, or guessed from the plugin's own name."""
    if problem.name is not None:
        return (problem.kind, problem.name) == (kind, name)
    return problem.plugin.name == name


def _plugin(entry_point: EntryPoint) -> Plugin:
    distribution = entry_point.dist
    if distribution is None:
        return Plugin(entry_point.name, entry_point.value, "unknown")
    return Plugin(entry_point.name, distribution.name, distribution.version)


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
