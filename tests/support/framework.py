"""Android's framework of API 36, as described by the package chaquopy-stubs-android; and the
classes of Java 8, which Android 8 has, as described by the JDK."""

from __future__ import annotations

import ast
import struct
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mcad_mobile.android.toolchain import java_home
from tests.support.dex_file import Reference, parameters

_PRIMITIVES = {
    "I": "java.jint",
    "J": "java.jlong",
    "Z": "java.jboolean",
    "F": "java.jfloat",
    "D": "java.jdouble",
    "B": "java.jbyte",
    "S": "java.jshort",
    "C": "java.jchar",
}
# Members that a stub cannot name as Java does.
_PYTHON_NAMES = {"<init>": "__init__", "from": "from_"}
_ARRAYS = {
    "[I": "JavaArrayJInt",
    "[B": "JavaArrayJByte",
    "[F": "JavaArrayJFloat",
    "[Z": "JavaArrayJBoolean",
}


# A stub's annotations of the values of methods and fields.
_VALUES = {
    "V": "None",
    "Z": "bool",
    **dict.fromkeys("IJSB", "int"),
    **dict.fromkeys("FD", "float"),
    "C": "str",
    "Ljava/lang/String;": "str",
}
STATIC = 0x0008


@dataclass(frozen=True)
class Member:
    """A method, or a field (without parameters): the annotations of its parameters and value."""

    takes: list[str]
    gives: str
    static: bool


@dataclass
class Described:
    """A class: its bases, and its members by name."""

    bases: list[str] = field(default_factory=list)
    methods: dict[str, list[Member]] = field(default_factory=dict)
    fields: dict[str, Member] = field(default_factory=dict)


class Framework:
    """Classes of android.* by their names in a dex: "android/view/View$OnClickListener"."""

    def __init__(self) -> None:
        self._root = Path(sysconfig.get_paths()["purelib"])
        self._packages: dict[str, dict[str, Described]] = {}

    def has(self, reference: Reference, *, static: bool | None = None) -> bool:
        """Whether a class or an ancestor has this method or field with these types, and is static
        or not if `static` is given."""
        described = self.find(reference.owner)
        if described is None:
            return False
        name = _PYTHON_NAMES.get(reference.name, reference.name)
        if reference.descriptor.startswith("("):
            wanted = parameters(reference.descriptor)
            returned = reference.descriptor.rpartition(")")[2]
            if any(
                _takes(method.takes, wanted)
                and (name == "__init__" or _gives(method.gives, returned))
                and static in (None, method.static)
                for method in described.methods.get(name, [])
            ):
                return True
            if name == "__init__":
                return False
        elif name in described.fields:
            held = described.fields[name]
            return _gives(held.gives, reference.descriptor) and static in (None, held.static)
        elsewhere = (
            Reference(base, reference.name, reference.descriptor) for base in described.bases
        )
        return any(
            _OBJECT.has(above) if _is_java(above) else self.has(above, static=static)
            for above in elsewhere
        )

    def find(self, name: str) -> Described | None:
        package, _, classes = name.rpartition("/")
        return self._package(package).get(classes)

    def _package(self, package: str) -> dict[str, Described]:
        if package not in self._packages:
            first, _, rest = package.partition("/")
            file = self._root / f"{first}-stubs" / rest / "__init__.pyi"
            found: dict[str, Described] = {}
            if file.is_file():
                _collect(ast.parse(file.read_text("utf-8")).body, package, "", found)
            self._packages[package] = found
        return self._packages[package]


def _collect(body: list[ast.stmt], package: str, outer: str, found: dict[str, Described]) -> None:
    for node in body:
        if not isinstance(node, ast.ClassDef):
            continue
        name = outer + node.name
        described = found[name] = Described()
        for base in node.bases:
            text = ast.unparse(base).split("[")[0]
            if text.startswith("typing."):
                continue
            described.bases.append(_slashed(text, package))
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                described.methods.setdefault(item.name, []).append(_method(item))
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                text = ast.unparse(item.annotation)
                static = text.startswith("typing.ClassVar[")
                kind = text.removeprefix("typing.ClassVar[").removesuffix("]") if static else text
                described.fields[item.target.id] = Member([], kind, static)
        _collect(node.body, package, f"{name}$", found)


def _method(function: ast.FunctionDef) -> Member:
    given = [*function.args.posonlyargs, *function.args.args]
    texts = [ast.unparse(arg.annotation) for arg in given if arg.annotation is not None]
    if function.args.vararg is not None:
        texts.append("JavaArray[")
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    return Member(texts, ast.unparse(function.returns) if function.returns else "", static)


def _slashed(dotted: str, package: str) -> str:
    """ "android.view.View.OnClickListener" or, in its own package, "View" -> as in a dex."""
    parts = dotted.split(".")
    first = next(i for i, part in enumerate(parts) if part[0].isupper())
    return "/".join([*(parts[:first] or [package]), "$".join(parts[first:])])


def _takes(given: list[str], wanted: list[str]) -> bool:
    return len(given) == len(wanted) and all(map(_is_of, given, wanted))


def _gives(annotation: str, descriptor: str) -> bool:
    if descriptor in _VALUES:
        return annotation.removesuffix(" | None") == _VALUES[descriptor]
    return _is_of(annotation, descriptor)


def _is_of(annotation: str, descriptor: str) -> bool:
    if descriptor in _PRIMITIVES:
        return _PRIMITIVES[descriptor] in annotation
    if descriptor in _ARRAYS:
        return _ARRAYS[descriptor] in annotation
    if descriptor.startswith("["):
        return "JavaArray[" in annotation
    if descriptor == "Ljava/lang/Class;":
        return "typing.Type[" in annotation
    if descriptor == "Ljava/lang/Object;":
        return "java.lang.Object" in annotation or "__" in annotation  # a type variable
    simple = descriptor[1:-1].rsplit("/", 1)[1].replace("$", ".")
    words = annotation.replace("[", " ").replace("|", " ").split()
    return any(word == simple or word.endswith(f".{simple}") for word in words)


class Java8:
    """Classes of Java 8 by their signatures in the JDK's ct.sym."""

    def __init__(self) -> None:
        self._archive = zipfile.ZipFile(java_home() / "lib" / "ct.sym")
        self._entries = {
            name.split("/", 2)[2].removesuffix(".sig"): name
            for name in self._archive.namelist()
            if "8" in name.split("/", 1)[0] and name.count("/") > 2 and name.endswith(".sig")
        }

    def save(self, jar: Path) -> None:
        """Write the classes without code, as in an android.jar, for lookup."""
        with zipfile.ZipFile(jar, "w") as packed:
            for name, entry in self._entries.items():
                data = bytearray(self._archive.read(entry))
                data[6:8] = struct.pack(">H", 44 + 8)  # the JDK's own may be unknown to R8
                packed.writestr(f"{name}.class", bytes(data))

    def has(self, reference: Reference) -> bool:
        if reference.owner not in self._entries:
            return False
        found = self._class(reference.owner)
        return (reference.name, reference.descriptor) in found.members or any(
            self.has(Reference(base, reference.name, reference.descriptor)) for base in found.above
        )

    @cache  # noqa: B019 - there is one
    def _class(self, name: str) -> ClassFile:
        return read_class(self._archive.read(self._entries[name]))


@dataclass(frozen=True)
class ClassFile:
    """A class, its superclass and interfaces, and its members' access flags by name and
    descriptor."""

    name: str
    above: list[str]
    members: dict[tuple[str, str], int]


def _constants(data: bytes) -> tuple[dict[int, tuple[int, bytes]], int]:
    """Return a class file's constants by number, as tag and bytes, and where they end. See the JVM
    specification, chapter 4."""
    sizes = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 18: 4}
    (count,) = struct.unpack_from(">H", data, 8)
    constants: dict[int, tuple[int, bytes]] = {}
    at, index = 10, 1
    while index < count:
        tag = data[at]
        at += 1
        if tag == 1:
            length = int(struct.unpack_from(">H", data, at)[0])
            at += 2
        else:
            length = sizes.get(tag, 2)
        constants[index] = tag, data[at : at + length]
        at += length
        index += 2 if tag in (5, 6) else 1
    return constants, at


def called_methods(data: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield the methods that a class file calls: owner, name, types."""
    constants, _ = _constants(data)

    def text(number: int) -> str:
        tag, value = constants[number]
        return value.decode() if tag == 1 else text(struct.unpack(">H", value[:2])[0])

    for tag, value in constants.values():
        if tag in (10, 11):
            owner, called = struct.unpack(">HH", value)
            name, types = struct.unpack(">HH", constants[called][1])
            yield text(owner), text(name), text(types)


def read_class(data: bytes) -> ClassFile:
    constants, at = _constants(data)

    def u16(offset: int) -> int:
        return int(struct.unpack_from(">H", data, offset)[0])

    def text(number: int) -> str:
        tag, value = constants[number]
        return value.decode() if tag == 1 else text(struct.unpack(">H", value[:2])[0])

    name = text(u16(at + 2))
    above = [text(number) for number in [u16(at + 4)] if number]
    interfaces = u16(at + 6)
    above += [text(u16(at + 8 + 2 * i)) for i in range(interfaces)]
    at += 8 + 2 * interfaces
    members = {}
    for _ in range(2):
        members_here = u16(at)
        at += 2
        for _ in range(members_here):
            members[text(u16(at + 2)), text(u16(at + 4))] = u16(at)
            attributes = u16(at + 6)
            at += 8
            for _ in range(attributes):
                at += 6 + struct.unpack_from(">I", data, at + 2)[0]
    return ClassFile(name, above, members)


def _is_java(reference: Reference) -> bool:
    return reference.owner.startswith(("java/", "javax/"))


_OBJECT = Java8()
