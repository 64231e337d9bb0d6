"""Packages of others that run their own `__init__` only when they are asked for a name.

libp2p and py_ecc import all they have as soon as one of their modules is imported: half of the
start-up of whatever joins the network, and thirty megabytes, for hosts, pairings and resolvers that
nothing here uses. A late package has its path at once, so its modules can be imported; the first
name that it has not got runs its `__init__` in place. Nobody can tell the difference, but by time.

py_ecc also raises the interpreter's recursion limit a hundredfold, for all its importers. A process
that parses what strangers send keeps the limit it had.
"""

import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import MappingProxyType, ModuleType
from typing import Final

LATE: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "libp2p": {},
        "libp2p.transport": {},
        "py_ecc.bls12_381": {"curve_order": "py_ecc.bls12_381.bls12_381_curve"},
        "py_ecc.bls": {},
    }
)
"""Package → names it is asked for by modules we need, and the light modules that define them."""

BORROWED: Final = MappingProxyType({"py_ecc.bls": "G2ProofOfPossession"})
"""Objects that modules we need import but do not use: each loads its package when it is used."""

LIMIT_KEPT: Final = "py_ecc"

_loading: Final = threading.RLock()


class Late(ModuleType):
    """A package whose `__init__` has not run."""

    def __getattr__(self, name: str) -> object:
        package = self.__name__
        if name == BORROWED.get(package):
            return _Borrowed(package, name)
        if home := LATE[package].get(name):
            return getattr(import_module(home), name)
        _load(self)
        return getattr(self, name)


class _Borrowed:
    """Stands for one object of a late package, until an attribute of it is wanted."""

    def __init__(self, package: str, name: str) -> None:
        self._package, self._name = package, name

    def __getattr__(self, name: str) -> object:
        module = sys.modules[self._package]
        _load(module)
        return getattr(getattr(module, self._name), name)


def _load(module: ModuleType) -> None:
    with _loading:
        if module.__class__ is not Late:
            return
        _become(module, ModuleType)
        spec = module.__spec__
        assert spec is not None and spec.loader is not None  # _LateLoader set both
        try:
            spec.loader.exec_module(module)
        except BaseException:
            _become(module, Late)
            raise


def _become(module: ModuleType, kind: type[ModuleType]) -> None:
    module.__class__ = kind


class _LateLoader(Loader):
    """Makes the package, with its own loader in its spec for when it is really loaded."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        _become(module, Late)
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own


class _LimitKeeper(Loader):
    """Runs a module and puts the recursion limit back where it was."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        limit = sys.getrecursionlimit()
        try:
            self._own.exec_module(module)
        finally:
            sys.setrecursionlimit(limit)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LATE and fullname != LIMIT_KEPT:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            keeper = _LimitKeeper if fullname == LIMIT_KEPT else _LateLoader
            spec.loader = keeper(spec.loader)
        return spec


def install() -> None:
    """Make those packages late that are not imported yet; may be called again."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
