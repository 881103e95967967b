"""Classes that wrap PySide's as PythonQt's wrap Qt's: properties as values, no inheritance between them, strict.

Each native class gets one wrapper class, each native object at most one living wrapper. A Python subclass of a wrapper
class gets a native class of its own, through which Qt reaches the methods it overrides.
"""

from __future__ import annotations

import enum
import inspect
import sys
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import _signals
from ._calls import call, documentation, result, signatures
from ._values import Bridge, Mismatch, to_property, to_python

_LINK = "_standin_wrapper"
_classes: dict[type, type[Wrapper]] = {}


class BoundMethod:
    """A Qt function bound to an object, or a static one."""

    def __init__(self, function: Callable[..., Any], name: str, overloads: tuple[inspect.Signature, ...]) -> None:
        self._function = function
        self.name = name
        self.overloads = overloads
        self.__doc__ = documentation(name, overloads)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return result(call(self._function, self.name, self.overloads, args, kwargs), self.name)


class Method:
    """A method of a native class. Calls that class's own, so that super() in a Python subclass goes up."""

    def __init__(self, native: type, name: str) -> None:
        self._native = native
        self._name = name

    def __get__(self, wrapper: Wrapper | None, owner: type[Wrapper]) -> Any:
        if wrapper is None:
            return lambda this, *args, **kwargs: self.__get__(this, owner)(*args, **kwargs)
        native = alive(wrapper, f"call '{self._name}' on")
        function = getattr(self._native, self._name)
        bound = function.__get__(native) if type(wrapper).own else getattr(native, self._name)
        return BoundMethod(bound, self._name, signatures(function))


class StaticMethod:
    """A static function of a native class."""

    def __init__(self, native: type, name: str) -> None:
        self._function = getattr(native, name)
        self._name = name

    def __get__(self, wrapper: Wrapper | None, owner: type[Wrapper]) -> BoundMethod:
        # Some are both: QFileInfo.exists(file) and QFileInfo(file).exists(). Asked of an object, it has to be its own.
        bound = self._function if wrapper is None else getattr(alive(wrapper, f"call '{self._name}' on"), self._name)
        return BoundMethod(bound, self._name, signatures(self._function))


class Property:
    """A Qt property: read and set as an attribute, hiding the C++ getter of that name."""

    def __init__(self, name: str, attribute: str = "", static: StaticMethod | None = None) -> None:
        self._name = name
        self._attribute = attribute or name
        self._static = static

    def __get__(self, wrapper: Wrapper | None, owner: type[Wrapper]) -> Any:
        if wrapper is None:  # QTimer.singleShot is a property of timers and a static function of the class
            return self._static.__get__(None, owner) if self._static is not None else self
        return to_python(alive(wrapper, f"read property '{self._attribute}' from").property(self._name))

    def __set__(self, wrapper: Wrapper, value: Any) -> None:
        native = alive(wrapper, f"set property '{self._attribute}' of")
        meta = native.metaObject()
        described = meta.property(meta.indexOfProperty(self._name))
        kind = type(wrapper).__name__
        if not described.isWritable():
            raise AttributeError(f"Property '{self._attribute}' of {kind} object is not writable")
        type_name = described.typeName()
        try:
            native.setProperty(self._name, to_property(value, type_name))
        except Mismatch:
            raise AttributeError(
                f"Property '{self._attribute}' of type '{type_name}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            ) from None


class Signal:
    """A signal of a native class."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, wrapper: Wrapper | None, owner: type[Wrapper]) -> Any:
        if wrapper is None:
            return self
        return _signals.BoundSignal(alive(wrapper, f"connect '{self._name}' of"), self._name)


class WrapperType(type):
    """Gives a Python subclass of a wrapper class its native class."""

    native: type
    own: bool

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], native: type | None = None) -> Any:
        declared = {key: value for key, value in namespace.items() if isinstance(value, QtCore.Signal)}
        namespace = {**namespace, **{key: Signal(key) for key in declared}}
        cls = super().__new__(mcs, name, bases, namespace)
        cls.own = native is None
        cls.native = native if native is not None else _overriding(name, cls, namespace, declared)
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], native: type | None = None):
        super().__init__(name, bases, namespace)


def _overriding(name: str, cls: type, namespace: dict[str, Any], declared: dict[str, Any]) -> type:
    """A native subclass whose methods call those that a Python subclass overrides."""
    base: type = next(b.native for b in cls.__mro__[1:] if isinstance(b, WrapperType))
    overrides = {
        key: _override(base, key)
        for key, value in namespace.items()
        if inspect.isfunction(value) and not key.startswith("__") and hasattr(base, key)
    }
    return type(base)(name, (base,), {**overrides, **declared})


def _override(base: type, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        wrapper = self.__dict__.get(_LINK)
        if wrapper is None or sys.is_finalizing():  # inside the native constructor, or after the last line of Python
            return getattr(base, name)(self, *args)
        return unwrap(getattr(wrapper, name)(*map(to_python, args)))

    return method


class Wrapper(metaclass=WrapperType, native=object):
    """A Qt object as PythonQt shows it."""

    _native: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        overloads = signatures(_base_of(cls))
        _attach(self, call(cls.native, _base_of(cls).__name__, overloads, args, kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        native = self.__dict__.get("_native")
        if isinstance(native, QtCore.QObject) and shiboken6.isValid(native) and name in _dynamic(native):
            return to_python(native.property(name))
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        existing = inspect.getattr_static(cls, name, None)
        if isinstance(existing, Property):
            existing.__set__(self, value)
        elif isinstance(existing, (Method, StaticMethod, Signal)):
            raise AttributeError(f"Slot '{name}' can not be overwritten on {cls.__name__} object")
        elif cls.own:
            object.__setattr__(self, name, value)
        elif isinstance(self._native, QtCore.QObject) and name in _dynamic(self._native):
            self._native.setProperty(name, value)
        else:
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
            )

    def __bool__(self) -> bool:
        return self._native is not None and shiboken6.isValid(self._native)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Wrapper) and bool(self._native == other._native))

    def __hash__(self) -> int:
        return hash(shiboken6.getCppPointer(self._native)) if self else id(self)

    def __repr__(self) -> str:
        name = _base_of(type(self)).__name__
        address = hex(shiboken6.getCppPointer(self._native)[0]) if self else "0x0"
        if isinstance(self._native, QtCore.QObject):
            named = f', name="{self._native.objectName()}"' if self and self._native.objectName() else ""
            return f"{name}({address}{named}) "
        if isinstance(self._native, QtCore.QByteArray):
            return f"{name} ({bytes(self._native.data()).decode(errors='replace')}, at: {address})"
        shown = repr(self._native)
        return f"{name} ({shown[shown.find('(') + 1 : shown.rfind(')')]}, at: {address})"

    def __str__(self) -> str:
        return str(self._native.data()) if isinstance(self._native, QtCore.QByteArray) else repr(self)


def _dynamic(native: QtCore.QObject) -> list[str]:
    return [bytes(name.data()).decode() for name in native.dynamicPropertyNames()]


def _base_of(cls: WrapperType) -> type:
    """The native class that a wrapper class, or the one it is a Python subclass of, wraps."""
    return next(b.native for b in cls.__mro__ if isinstance(b, WrapperType) and not b.own)


def alive(wrapper: Wrapper, use: str) -> Any:
    """The native object. Raises ValueError once Qt has deleted it, or before it was made."""
    native = wrapper.__dict__.get("_native")
    if native is None or not shiboken6.isValid(native):
        raise ValueError(f"Trying to {use} a destroyed {type(wrapper).__name__} object")
    return native


def _attach(wrapper: Wrapper, native: Any) -> None:
    object.__setattr__(wrapper, "_native", native)
    if type(wrapper).own:
        native.__dict__[_LINK] = wrapper  # has state of its own: lives as long as the native object
    elif hasattr(native, "__dict__"):
        native.__dict__["_standin_reference"] = weakref.ref(wrapper)


def wrap(native: Any) -> Any:
    """The wrapper of a native object: the living one, or a new one."""
    attributes = getattr(native, "__dict__", {})
    wrapper = attributes.get(_LINK)
    if wrapper is None and "_standin_reference" in attributes:
        wrapper = attributes["_standin_reference"]()
    if wrapper is None:
        cls = wrapper_class(type(native))
        wrapper = cls.__new__(cls)
        _attach(wrapper, native)
    return wrapper


def unwrap(value: Any) -> Any:
    """The native object of a wrapper; anything else as it is."""
    return alive(value, "pass") if isinstance(value, Wrapper) else value


def wrapper_class(native: type) -> type[Wrapper]:
    """The wrapper class of a native class, made at first use."""
    if native not in _classes:
        members: dict[str, Any] = {}
        for name in dir(native):
            if not name.startswith("_"):
                members.update(_member(native, name))
        if issubclass(native, QtCore.QObject):
            meta = native.staticMetaObject
            for name in (meta.property(i).name() for i in range(meta.propertyCount())):
                hidden = members.get(name)
                members[name] = Property(name, static=hidden if isinstance(hidden, StaticMethod) else None)
            members.update(_OBJECT_MEMBERS)
        if "exec" in members:
            members["exec_"] = members["exec"]
        _classes[native] = WrapperType(native.__name__, (Wrapper,), members, native=native)
    return _classes[native]


def _member(native: type, name: str) -> dict[str, Any]:
    value = inspect.getattr_static(native, name)
    if isinstance(value, QtCore.Signal):
        return {name: Signal(name)}
    if inspect.isclass(value):
        if not issubclass(value, enum.Enum):
            return {}
        plain = {key: member.value for key, member in value.__members__.items()}
        return {**plain, name: type(name, (), dict(plain))}
    if isinstance(value, (staticmethod, classmethod)) or inspect.isbuiltin(value):
        return {name: StaticMethod(native, name)}
    return {name: Method(native, name)} if callable(value) else {}


def _class_name(self: Wrapper) -> str:
    return str(alive(self, "call 'className' on").metaObject().className())


def _delete(self: Wrapper) -> None:
    shiboken6.delete(alive(self, "call 'delete' on"))


def _find_children(self: Wrapper, kind: Any, name: str = "") -> tuple[Any, ...]:
    class_name = kind if isinstance(kind, str) else kind.__name__
    children = alive(self, "call 'findChildren' on").findChildren(QtCore.QObject)
    named = (child for child in children if not name or child.objectName() == name)
    return tuple(wrap(child) for child in named if child.inherits(class_name))


def _find_child(self: Wrapper, kind: Any, name: str = "") -> Any:
    return next(iter(_find_children(self, kind, name)), None)


def _connect(self: Wrapper, signature: str, slot: Callable[..., Any]) -> bool:
    return _signals.connect_by_signature(alive(self, "connect"), signature, slot)


def _disconnect(self: Wrapper, signature: str, slot: Callable[..., Any] | None = None) -> bool:
    return _signals.disconnect_by_signature(alive(self, "disconnect"), signature, slot)


_OBJECT_MEMBERS: dict[str, Any] = {
    "name": Property("objectName", "name"),
    "className": _class_name,
    "delete": _delete,
    "findChild": _find_child,
    "findChildren": _find_children,
    "connect": _connect,
    "disconnect": _disconnect,
}

Bridge.wrap = staticmethod(wrap)
Bridge.unwrap = staticmethod(unwrap)
Bridge.native_class = staticmethod(lambda cls: cls.native)
