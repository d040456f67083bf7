from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from attention_arena.catalogue import Catalogue, LoadedPlugin, Plugin, collect_catalogue, load_catalogue
from attention_arena.errors import ConfigError
from attention_arena.hooks import PLUGIN_API, hookimpl
from attention_arena.measure import Measure
from attention_arena.variant import Backbone, Options, Variant

VARIANT_MODULE = """
    from attention_arena.hooks import hookimpl
    from attention_arena.variant import Backbone, Options, Variant

    @hookimpl
    def register_variants():
        return [Variant("{name}", "summary", "paper", frozenset(), Options, lambda options, shape: Backbone())]
"""


def variant(name: str, options: Any = Options) -> Variant:
    return Variant(name, "summary", "paper", frozenset(), options, lambda options, shape: Backbone())


def registering(**hooks: Any) -> SimpleNamespace:
    """Return a plugin whose hooks return the given values."""

    def implement(value: Any) -> Any:
        def hook() -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        return hookimpl(hook)

    return SimpleNamespace(**{hook: implement(value) for hook, value in hooks.items()})


def collect(**plugins: object) -> Catalogue:
    return collect_catalogue(
        [LoadedPlugin(Plugin(name, f"dist-{name}", "1.2"), hooks) for name, hooks in plugins.items()]
    )


def messages(catalogue: Catalogue) -> list[str]:
    return [str(problem) for problem in catalogue.problems]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[EntryPoint]]:
    """Install distributions, each a module with one entry point, and return all their entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(distribution: str, plugin: str, source: str) -> list[EntryPoint]:
        module = f"module_of_{distribution}"
        (tmp_path / f"{module}.py").write_text(dedent(source))
        info = tmp_path / f"{distribution}-3.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 3.1\n")
        (info / "entry_points.txt").write_text(f"[attention_arena]\n{plugin} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return [each for found in distributions(path=[str(tmp_path)]) for each in found.entry_points]

    return write


def test_what_a_plugin_registers_is_found_with_its_origin(install: Callable[..., list[EntryPoint]]) -> None:
    catalogue = load_catalogue(install("alpha", "first", VARIANT_MODULE.format(name="nearest")))
    assert list(catalogue.variants) == ["nearest"]
    assert catalogue.variant("nearest").name == "nearest"
    assert catalogue.plugin_of("variant", "nearest") == Plugin("first", "alpha", "3.1")
    assert catalogue.problems == ()


def test_two_distributions_that_claim_one_plugin_name_are_both_refused(
    install: Callable[..., list[EntryPoint]],
) -> None:
    install("alpha", "same", VARIANT_MODULE.format(name="nearest"))
    install("beta", "same", VARIANT_MODULE.format(name="farthest"))
    entry_points = install("gamma", "other", VARIANT_MODULE.format(name="middle"))
    for order in (entry_points, entry_points[::-1]):
        catalogue = load_catalogue(order)
        assert list(catalogue.variants) == ["middle"]
        assert messages(catalogue) == [
            "plugin 'same' of alpha 3.1: claims a plugin name that plugin 'same' of beta 3.1 claims too; "
            "neither is used: uninstall one",
            "plugin 'same' of beta 3.1: claims a plugin name that plugin 'same' of alpha 3.1 claims too; "
            "neither is used: uninstall one",
        ]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("def broken(:", "SyntaxError: "),
    ],
)
def test_a_plugin_that_fails_to_import_is_named_with_its_cause(
    install: Callable[..., list[EntryPoint]], source: str, cause: str
) -> None:
    install("alpha", "broken", source)
    catalogue = load_catalogue(install("beta", "sound", VARIANT_MODULE.format(name="nearest")))
    assert list(catalogue.variants) == ["nearest"]
    [message] = messages(catalogue)
    assert message.startswith(f"plugin 'broken' of alpha 3.1: failed to import: {cause}")
    with pytest.raises(ConfigError, match=r"variant 'broken' cannot be used: plugin 'broken' of alpha 3\.1: failed"):
        catalogue.variant("broken")
    with pytest.raises(ConfigError, match=r"plugins that could not be used: broken\)"):
        catalogue.variant("something")


def test_kinds_left_out_are_not_asked_for() -> None:
    catalogue = load_catalogue(kinds=("variant", "task"))
    assert "softmax" in catalogue.variants
    assert "listops" in catalogue.tasks
    assert not catalogue.figures
    assert not catalogue.executors


def test_of_two_plugins_that_register_one_name_neither_has_it() -> None:
    first = registering(register_variants=[variant("twin"), variant("single")])
    second = registering(register_variants=[variant("twin")])
    for catalogue in (collect(first=first, second=second), collect(second=second, first=first)):
        assert list(catalogue.variants) == ["single"]
        assert [problem.plugin.name for problem in catalogue.problems] == ["first", "second"]
        with pytest.raises(ConfigError, match=r"'twin' cannot be used.*dist-first 1\.2.*and so does .*dist-second"):
            catalogue.variant("twin")


def test_one_name_may_serve_two_kinds() -> None:
    measure = Measure("twin", "summary", Options, lambda options, subject: [])
    catalogue = collect(one=registering(register_variants=[variant("twin")], register_measures=[measure]))
    assert catalogue.problems == ()
    assert catalogue.measure("twin") is measure


def test_a_plugin_that_registers_one_name_twice_is_reported() -> None:
    catalogue = collect(one=registering(register_variants=[variant("twin"), variant("twin")]))
    assert not catalogue.variants
    assert messages(catalogue) == ["plugin 'one' of dist-one 1.2: registers variant 'twin' 2 times; none is used"]


def test_a_misspelt_hook_is_named_with_the_right_one() -> None:
    catalogue = collect(one=registering(register_variant=[]), two=registering(register_variants=[variant("sound")]))
    assert list(catalogue.variants) == ["sound"]
    [message] = messages(catalogue)
    assert "unknown hook 'register_variant'; did you mean 'register_variants'?" in message


def test_a_hook_with_arguments_is_refused() -> None:
    def register_variants(folder: str) -> list[Variant]:
        return [variant("never")]

    catalogue = collect(one=SimpleNamespace(register_variants=hookimpl(register_variants)))
    assert not catalogue.variants
    assert "has a hook that does not fit the interface" in messages(catalogue)[0]
    assert "folder" in messages(catalogue)[0]


def test_a_plugin_built_for_another_interface_is_refused_whole() -> None:
    plugin = registering(register_variants=[variant("newer")])
    plugin.PLUGIN_API = PLUGIN_API + 1
    catalogue = collect(one=plugin)
    assert not catalogue.variants
    assert messages(catalogue) == [
        "plugin 'one' of dist-one 1.2: was built for plugin interface 2, and this is interface 1; update one of the two"
    ]


def test_a_plugin_that_states_this_interface_is_used() -> None:
    plugin = registering(register_variants=[variant("same")])
    plugin.PLUGIN_API = PLUGIN_API
    assert list(collect(one=plugin).variants) == ["same"]


def test_a_plugin_without_hooks_is_reported() -> None:
    catalogue = collect(one=SimpleNamespace(register_variants=lambda: [variant("unmarked")]))
    assert not catalogue.variants
    assert "has no hooks; mark functions named register_variants" in messages(catalogue)[0]


def test_a_hook_that_raises_leaves_the_plugin_its_others() -> None:
    measure = Measure("sound", "summary", Options, lambda options, subject: [])
    catalogue = collect(one=registering(register_variants=KeyError("lost"), register_measures=[measure]))
    assert list(catalogue.measures) == ["sound"]
    assert messages(catalogue) == ["plugin 'one' of dist-one 1.2: register_variants failed: KeyError: 'lost'"]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (variant("lone"), "register_variants must return a list, got Variant"),
        ("text", "register_variants must return a list, got str"),
        (["text"], "register_variants returned str where a Variant is expected"),
        ([variant("../up")], "register_variants returned a variant named '../up'"),
        ([variant("dict_options", dict)], "'dict_options' whose options are not a subclass of"),
    ],
)
def test_a_hook_that_returns_something_else_is_reported(value: Any, complaint: str) -> None:
    catalogue = collect(one=registering(register_variants=value))
    assert not catalogue.variants
    [message] = messages(catalogue)
    assert complaint in message


def test_a_measure_alone_is_no_list_of_measures() -> None:
    measure = Measure("alone", "summary", Options, lambda options, subject: [])
    assert messages(collect(one=registering(register_measures=measure))) == [
        "plugin 'one' of dist-one 1.2: register_measures must return a list, got Measure"
    ]


def test_a_wrong_value_costs_only_itself() -> None:
    catalogue = collect(one=registering(register_variants=[variant("sound"), 7]))
    assert list(catalogue.variants) == ["sound"]
    assert len(catalogue.problems) == 1


def test_figures_and_executors_need_a_name_alone() -> None:
    figure, executor = SimpleNamespace(name="curve"), SimpleNamespace(name="cluster")
    catalogue = collect(one=registering(register_figures=[figure, object()], register_executors=[executor]))
    assert catalogue.figure("curve") is figure
    assert catalogue.executor("cluster") is executor
    assert len(catalogue.problems) == 1


def test_an_unknown_name_brings_the_known_ones_and_a_guess() -> None:
    catalogue = collect(one=registering(register_variants=[variant("reformer"), variant("softmax")]))
    with pytest.raises(ConfigError) as caught:
        catalogue.variant("refomer")
    assert str(caught.value) == "unknown variant 'refomer'; did you mean 'reformer'? known: reformer, softmax"
    with pytest.raises(ConfigError, match="unknown task 'reformer'; known: none"):
        catalogue.task("reformer")


def test_importing_the_catalogue_does_not_import_torch() -> None:
    code = "import sys, attention_arena.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
