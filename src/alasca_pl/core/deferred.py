"""Libraries whose own initialisation waits until something of it is used; commands then start in a third of the time.

Lightning, torchmetrics, torchvision and ``torch.optim`` import at once what they need rarely or never: a compiler, signal
processing, plots, metrics of sound and text. Packages named here are put into ``sys.modules`` without running their
``__init__``, so that single modules of them can be imported. Whatever else is asked of them runs the ``__init__`` first, as
a plain import would have done, so nothing is missing and nothing is replaced for good.

Only commands do this, in processes of their own. Whoever imports ``alasca_pl`` gets the libraries as they are. It depends on
the order in which modules of these libraries import each other, so it is done for versions only with which it was tested;
with others commands start more slowly.
"""

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType, SimpleNamespace
from typing import Any

# Versions with which the tests of this module pass.
_TESTED = {"torch": "2.15", "lightning": "2.6", "torchmetrics": "1.9", "torchvision": "0.29"}
_lock = threading.RLock()
# A package whose modules rely on the order in which its ``__init__`` imports them.
_IN_ORDER = "torch._dynamo"


class _Deferred(ModuleType):
    """A module that is initialised when a name is asked of it that is not among its ``_light`` ones."""

    _light: Mapping[str, Callable[[], Any]]
    _loader: Loader
    _initialising = False

    def __getattr__(self, name: str) -> Any:
        # Its own modules are imported while it is initialised, and get what is real.
        light = None if self._initialising else self._light.get(name)
        if light is not None:
            return light()
        # The import system asks modules that are no packages for a path.
        if name != "__path__":
            _initialise(self)
        # The plain attribute, without this method, which would otherwise call itself.
        return object.__getattribute__(self, name)


def _initialise(module: ModuleType) -> None:
    with _lock:
        # Modules that are imported meanwhile see a module that is being initialised, as always.
        if type(module) is not _Deferred or module._initialising:
            return
        module._initialising = True
        try:
            if module.__name__.startswith(f"{_IN_ORDER}."):
                _initialise(sys.modules[_IN_ORDER])
            module._loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
        finally:
            module._initialising = False


class _DeferredLoader(Loader):
    def __init__(self, loader: Loader, light: Mapping[str, Callable[[], Any]]) -> None:
        self._loader, self._light = loader, light

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # Not earlier: the import itself asks for attributes while it sets them.
        module.__dict__.update(_light=self._light, _loader=self._loader)
        module.__class__ = _Deferred


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        light = _DEFERRED.get(fullname)
        if light is None and fullname.startswith(f"{_IN_ORDER}."):
            _initialise(sys.modules[_IN_ORDER])
        spec = PathFinder.find_spec(fullname, path) if light is not None else None
        if spec is not None and spec.loader is not None and light is not None:
            spec.loader = _DeferredLoader(spec.loader, light)
        return spec


def install() -> bool:
    """Let the packages named here wait, those that are not imported yet; a second call changes nothing.

    Returns:
        Whether they wait; not with versions that are not among the tested ones.
    """
    if not all(_is_tested(name) for name in _TESTED):
        return False
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return True


def _is_tested(package: str) -> bool:
    try:
        return version(package).split(".")[:2] == _TESTED[package].split(".")
    except PackageNotFoundError:
        return False


def is_loaded(name: str) -> bool:
    """Whether a module is imported and initialised."""
    module = sys.modules.get(name)
    return module is not None and (type(module) is not _Deferred or module._initialising)


def _of(module: str, name: str, first: str | None = None) -> Callable[[], Any]:
    """A name that one module of the package is enough for, after another that has to be imported before it."""

    def find() -> Any:
        for each in (first, module):
            found = importlib.import_module(each) if each else None
        return getattr(found, name)

    return find


def _function(module: str, name: str) -> Callable[[], Any]:
    """A function that initialises the module when it is called."""

    def call(*args: Any, **options: Any) -> Any:
        return _real(module, name)(*args, **options)

    return lambda: call


def _value(value: Any) -> Callable[[], Any]:
    return lambda: value


def _real(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    if type(found) is _Deferred:
        _initialise(found)
    return getattr(found, name)


class _CompiledType(type):
    """Nothing is compiled as long as the compiler is not loaded."""

    def __instancecheck__(cls, instance: object) -> bool:
        return is_loaded("torch._dynamo") and isinstance(instance, _real("torch._dynamo", "OptimizedModule"))


class _Compiled(metaclass=_CompiledType):
    """Stands for the class of compiled modules in checks of types."""


def _disable(function: Callable[..., Any], recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """Keep the compiler out of a function, from the moment at which there is a compiler; ``torch.optim`` asks for that."""

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        if not is_loaded("torch._dynamo"):
            return function(*args, **given)
        return _real("torch._dynamo", "disable")(function, recursive, **options)(*args, **given)

    return call


_DEFERRED: dict[str, dict[str, Callable[[], Any]]] = {
    "torch._dynamo": {
        "OptimizedModule": _value(_Compiled),
        "disable": _value(_disable),
        # What torch.optim calls in each step, for code that is being compiled.
        "graph_break": _value(lambda: None),
        # What torch.distributed clears when a group begins.
        "trace_rules": _value(SimpleNamespace(clear_lru_cache=lambda: None)),
    },
    # From the module torchvision.ops.roi_align, which no model of ours uses.
    "torch._dynamo.utils": {"is_compile_supported": _function("torch._dynamo.utils", "is_compile_supported")},
    "torchmetrics": {
        "__version__": _of("torchmetrics.__about__", "__version__"),
        "_logger": _value(logging.getLogger("torchmetrics")),
        # The package imports these two modules in this order; each needs the other.
        "Metric": _of("torchmetrics.metric", "Metric", first="torchmetrics.utilities"),
        "MetricCollection": _of("torchmetrics.collections", "MetricCollection"),
    },
    "torchmetrics.functional": {},
    "torchmetrics.utilities.plot": {
        **{name: _value(Any) for name in ("_AX_TYPE", "_PLOT_OUT_TYPE", "_CMAP_TYPE")},
        **{
            name: _function("torchmetrics.utilities.plot", name)
            for name in ("plot_single_or_multi_val", "plot_confusion_matrix", "plot_curve")
        },
    },
    "torchvision": {"tv_tensors": lambda: importlib.import_module("torchvision.tv_tensors")},
    "torchvision.models": {},
}
