"""What goes into a package, what is told of it, and how its tools, fake ones, are called."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mcad_mobile.android import build_tools, demo_app, packages, parts, toolchain
from mcad_mobile.android.downloads import Artifact
from mcad_mobile.android.native_libraries import Archive, Libraries
from mcad_mobile.android.notices import notices
from mcad_mobile.android.parts import BuildOptions, gather_parts, pack_bundle
from mcad_mobile.base import VERSION
from mcad_mobile.base.progress import silent
from mcad_mobile.engine.bundle import Bundle, Parity, Rung, Tower
from mcad_mobile.errors import BuildError, BundleError
from tests.support.archives import ABI, archive, elf_library, onnxruntime_archive, qnn_archive
from tests.support.fake_android_tools import FakeAndroidTools
from tests.support.tiny_bundle import make_tiny_bundle, two_text_towers
from tests.support.tiny_reader import with_reader

QUALCOMM = Artifact("com.qualcomm.qti", "qnn-runtime", "2.41", "aar")
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

    mediatek = {"neuropilot w8a8": "the app has no NeuroPilot"}
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
    assert "every bundle from torch or ONNX ends in an ONNX CPU model" in raised.value.hint


def test_every_tower_is_packed_without_the_rungs_that_the_app_cannot_run(tmp_path: Path) -> None:
    def for_npu(tower: Tower) -> Tower:
        (rung,) = tower.rungs
        return replace(tower, rungs=(replace(rung, runtime="qnn"), rung))

    read = with_reader(two_text_towers(tmp_path / "tiny"))
    assert read.reader is not None
    reader = replace(read.reader, detector=for_npu(read.reader.detector))
    other = replace(read.multilingual, text=for_npu(read.multilingual.text))
    given = replace(read, reader=reader, multilingual=other)
    given.save()
    packed, left_out = pack_bundle(given, tmp_path / "packed", keep_float=False, no_npu="no NPU")
    assert left_out == dict.fromkeys(["multilingual qnn fp32", "detector qnn fp32"], "no NPU")
    assert replace(packed, directory=read.directory) == read


def test_a_bundle_with_a_damaged_file_is_not_packed(tmp_path: Path) -> None:
    tiny = make_tiny_bundle(tmp_path / "tiny")
    table = tiny.path(tiny.token_table.file)
    table.write_bytes(table.read_bytes()[::-1])
    with pytest.raises(BundleError, match=f"{table.name} is damaged"):
        pack_bundle(tiny, tmp_path / "packed", keep_float=False, no_npu=None)


def test_parts_are_those_that_the_options_and_the_bundle_ask_for(
    bundle: Bundle, tmp_path: Path
) -> None:
    own = onnxruntime_archive(tmp_path / "own.aar")
    capable = onnxruntime_archive(
        tmp_path / "ort-qnn.aar", b"VERS_1.29.0 QnnInterface_getProviders"
    )
    qnn, runtime = "image qnn w8a16", qnn_archive(tmp_path / "qnn.aar")

    def gathered(given: Bundle | None = bundle, **options: Any) -> Any:
        work = tmp_path / f"work-{len([*tmp_path.iterdir()])}"
        work.mkdir()
        return gather_parts(given, BuildOptions(**options), work, silent)

    plain = gathered()
    assert plain.left_out[qnn] == parts.NO_NPU and plain.fetched == {}
    assert [*plain.libraries.native] == [ABI]
    no_qnn = "the archives hold no ONNX Runtime with QNN"
    alone = gathered(onnxruntime=own)
    assert alone.left_out[qnn] == no_qnn == gathered(aars=(own,)).left_out[qnn]
    assert [archive.path for archive in alone.libraries.archives] == [own]
    both = (capable, runtime)
    for htp_arch, missing in ((79, None), (73, "libQnnHtpV73Stub.so")):
        on_chip = replace(bundle, target=replace(bundle.target, htp_arch=htp_arch))
        why = gathered(on_chip, aars=both).left_out.get(qnn)
        assert why == (missing and f"the archives hold no {missing}")
    on_chip = replace(bundle, target=replace(bundle.target, htp_arch=79))
    compiler = f"jni/{ABI}/libQnnHtpPrepare.so"
    whole = archive(tmp_path / "more.aar", {compiler: elf_library(b"\0" * 10**6)})
    kept = gathered(on_chip, aars=(*both, whole)).libraries
    assert {name for name in kept.native[ABI] if name.startswith("libQnn")} == {
        f"libQnn{part}.so" for part in ("Htp", "System", "HtpV79Stub", "HtpV79Skel")
    }
    assert any("1.0 MB are left out" in note for note in kept.notes)
    assert kept.archives[2].native == ()
    assert "image litert w8a8" in alone.left_out and "image onnx fp32" in alone.left_out
    more = gathered(onnxruntime=own, litert=True, keep_float=True)
    assert not {"image litert w8a8", "image onnx fp32"} & {*more.left_out}
    classes = io.BytesIO()
    with zipfile.ZipFile(classes, "w") as jar:
        jar.writestr("org/tensorflow/lite/Interpreter.class", b"")
    litert = archive(tmp_path / "litert.aar", {"classes.jar": classes.getvalue()})
    assert "image litert w8a8" not in gathered(onnxruntime=own, aars=(litert,)).left_out
    none = gathered(None, onnxruntime=own)
    assert (none.bundle, none.fetched, none.assets()) == (None, {}, none.notices)
    names = [entry.name for entry in alone.assets()]
    assert "assets/bundle/bundle.json" in names and "assets/mcad-licences/NOTICE.txt" in names
    assert names == sorted(names) and len(names) == len({*names})
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


JVM = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


def test_resources_are_linked_with_a_version_that_grows(
    tools: FakeAndroidTools, tmp_path: Path
) -> None:
    assert (packages.version_code("1.2.3"), packages.version_code("0.10.0")) == (10203, 1000)
    plain = [
        *("aapt2", "link", "-o", f"{tmp_path}/linked.apk", "-I", str(tools.framework)),
        *("--manifest", f"{tmp_path}/AndroidManifest.xml", "--java", f"{tmp_path}/generated"),
        *("--auto-add-overlay", "--min-sdk-version", "26", "--target-sdk-version", "36"),
        *("--version-code", str(packages.version_code(VERSION)), "--version-name", VERSION),
    ]
    assert packages.link(tmp_path, "<manifest/>") == tmp_path / "linked.apk"
    assert tools.calls() == [plain]
    assert (tools.folder / "AndroidManifest.xml").read_text() == "<manifest/>"
    rules, res = tmp_path / "k.pro", tmp_path / "res"
    packages.link(tmp_path, "<m/>", res, proto=True, keep_rules=rules)
    compiled = f"{tmp_path}/resources.zip"
    assert tools.calls() == [
        ["aapt2", "compile", "--dir", str(res), "-o", compiled],
        [*plain, "--proto-format", "--proguard", str(rules), compiled],
    ]
    for text in ("<nothing/>", "<manifest x>"):
        with pytest.raises(BuildError, match=r"The manifest of p has no <"):
            packages.complete_manifest(text, "p", extracted=False)


def test_packages_are_signed_with_the_debug_key_or_one_s_own(
    tools: FakeAndroidTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = packages.debug_key()
    kept = tools.cache / "debug.keystore"
    assert (key.keystore, key.alias) == (kept, "androiddebugkey")
    assert tools.calls() == [
        [
            *("keytool", "-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10950"),
            *("-dname", "CN=Android Debug,O=Android,C=US", "-storetype", "PKCS12"),
            *("-keystore", str(kept), "-alias", "androiddebugkey"),
            *("-storepass:env", "MCAD_DEBUG_PASSWORD", "-keypass:env", "MCAD_DEBUG_PASSWORD"),
        ]
    ]
    assert packages.debug_key() == key and tools.calls() == []  # it is kept
    with pytest.raises(BuildError, match=r"The password of .* is not known"):
        packages.own_key(kept, "me")
    monkeypatch.setenv("MCAD_KEYSTORE_PASSWORD", "secret")
    with pytest.raises(BuildError, match="No keystore at"):
        packages.own_key(tmp_path / "none", "me")
    with pytest.raises(BuildError, match="may hold several keys") as raised:
        packages.own_key(kept, None)
    assert "--key-alias NAME" in raised.value.hint
    own = packages.own_key(kept, "me")
    for name in ("u.apk", "b.aab", "out.apk.idsig"):
        (tmp_path / name).touch()
    packages.sign_apk(tmp_path / "u.apk", tmp_path / "out.apk", own)
    packages.sign_aab(tmp_path / "b.aab", own)
    assert tools.calls() == [
        [
            *(*JVM, "-jar", f"{tools.tools}/lib/apksigner.jar", "sign", "--ks", str(kept)),
            *("--ks-key-alias", "me", "--ks-pass", "env:MCAD_KEYSTORE_PASSWORD"),
            *("--min-sdk-version", "26", "--v1-signing-enabled", "false"),
            *("--alignment-preserved", "true", "--out", f"{tmp_path}/out.apk", f"{tmp_path}/u.apk"),
        ],
        [
            *("jarsigner", "-keystore", str(kept), "-storepass:env", "MCAD_KEYSTORE_PASSWORD"),
            *(f"{tmp_path}/b.aab", "me"),
        ],
    ]
    assert tools.passwords() == [
        "keytool android ",
        "java android secret",
        "jarsigner android secret",
    ]
    assert not (tmp_path / "out.apk.idsig").exists()


def test_java_is_compiled_documented_and_made_a_dex(
    tools: FakeAndroidTools, tmp_path: Path
) -> None:
    source = tmp_path / "src"
    (source / "a").mkdir(parents=True)
    for name in ("B.java", "a/A.java", "no.txt"):
        (source / name).touch()
    out, jars = tmp_path / "classes", [Path("x.jar"), Path("y.jar")]
    demo = str(toolchain.android_demo() / "compile_only")
    assert toolchain.compile_java([source], jars, out, javac_release=17) == out
    listed = (tmp_path / "classes.sources").read_text().splitlines()
    assert listed == [f'"{source}/B.java"', f'"{source}/a/A.java"']
    assert toolchain.document_java([source], [], tmp_path / "pages") == tmp_path / "pages"
    made = build_tools.run_d8([Path("A.class"), *jars], Path("stubs"), tmp_path)
    assert made == tmp_path / "dex" / "classes.dex"
    assert tools.calls() == [
        [
            *("javac", "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-encoding", "UTF-8"),
            *("--release", "17", "-g", "-proc:none", "-implicit:none", "-XDstringConcat=inline"),
            *("-Xlint:all,-try,-options,-classfile,-path", "-Werror", "-d", str(out)),
            *("-sourcepath", demo, "-classpath", "x.jar:y.jar", f"@{tmp_path}/classes.sources"),
        ],
        [
            *("javadoc", "-quiet", "-notimestamp", "-Xdoclint:none", "-encoding", "UTF-8"),
            *("--release", "17", "-d", f"{tmp_path}/pages", "-sourcepath", demo),
            f"@{tmp_path}/pages.sources",
        ],
        [
            *(*JVM, "-Xmx1g", "-cp", f"{tools.tools}/lib/d8.jar", "com.android.tools.r8.D8"),
            *("--release", "--min-api", "26", "--lib", f"{tmp_path}/java.jar"),
            *("--classpath", "stubs", "--output", f"{tmp_path}/dex", "A.class", "x.jar", "y.jar"),
        ],
    ]


def test_a_dex_is_made_again_for_other_sources_jars_or_compilers_alone(
    tools: FakeAndroidTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo, steps = tmp_path / "demo", []
    monkeypatch.setattr(toolchain, "_CANDIDATES", (demo,))
    java, stub = demo / "m" / "src" / "main" / "java" / "A.java", demo / "stubs" / "S.java"
    jar, more = tmp_path / "x.jar", tmp_path / "more" / "R.java"
    d8 = tools.tools / "lib" / "d8.jar"
    files = (java, jar, d8, stub, more)
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    folders = iter(range(100))

    def build() -> bool:
        """Return whether it was made anew."""
        folder = tmp_path / f"work{next(folders)}"
        folder.mkdir()
        made = build_tools.build_dex(
            ["m"], [jar], folder, generated=[more.parent], progress=steps.append
        )
        assert made == b"dex"
        calls = tools.calls()
        if calls:
            *_, by_javac, by_d8 = calls
            assert f"{folder}/stubs:{jar}" in by_javac
            assert str(d8) in by_d8 and by_d8[-2:] == [f"{folder}/classes/a/A.class", str(jar)]
        return bool(calls)

    assert build() and not build()
    assert steps == ["compiling Java", "making classes.dex"]
    for path in files:
        path.write_bytes(b"2")
        assert build() and not build()
    # Of one set of modules one is kept.
    assert len([*tools.cache.glob("m-*.dex")]) == 1


def test_an_app_has_its_files_where_a_phone_and_google_play_want_them(
    tools: FakeAndroidTools, tmp_path: Path
) -> None:
    bundle, steps = make_tiny_bundle(tmp_path / "tiny"), []
    own = onnxruntime_archive(tmp_path / "own.aar")
    (tmp_path / "k").touch()
    built = demo_app.build_app(
        bundle,
        tmp_path / "out" / "demo.apk",
        BuildOptions(onnxruntime=own),
        key=packages.Key(tmp_path / "k", "me"),
        progress=steps.append,
    )
    assert steps == [
        *("compiling resources", "compiling Java", "making classes.dex", "packing and signing")
    ]
    assert (built.package, built.notes) == (tmp_path / "out/demo.apk", ())
    assert (built.rungs["text"], built.left_out) == (["onnx fp32"], {})
    assert {"--ks", str(tmp_path / "k"), "--ks-key-alias", "me"} < {*tools.calls()[-1]}
    manifest = (tools.folder / "AndroidManifest.xml").read_text()
    assert '<manifest package="io.github.mcadmobile.demo" ' in manifest
    assert 'android:extractNativeLibs="false"' in manifest
    assert built.bytes == built.package.stat().st_size
    package = zipfile.ZipFile(built.package)
    stored = {info.filename: info.compress_type for info in package.infolist()}
    # The largest library is the last one.
    libraries = [name for name in stored if name.startswith("lib/")]
    names = ("onnxruntime4j_jni", "onnxruntime", "mcad_search")
    assert libraries == [f"lib/{ABI}/lib{name}.so" for name in names]
    zipped = {name for name, kind in stored.items() if kind == zipfile.ZIP_DEFLATED}
    assert {*stored} - zipped == {"resources.arsc", *libraries}
    assert package.read("classes.dex") == b"dex"
    document = json.loads(built.sbom.read_text())
    assert document["metadata"]["component"]["group"] == "io.github.mcadmobile.demo"

    options = BuildOptions(onnxruntime=own, aars=(qnn_archive(tmp_path / "qnn.aar"),))
    built = demo_app.build_app(bundle, tmp_path / "demo.aab", options, aab=True)
    listed = json.loads(built.sbom.read_text())["metadata"]["tools"]["components"]
    assert {tool["name"]: tool.get("version") for tool in listed}["d8.jar"] == "36.0.0"
    calls = tools.calls()
    assert any("--proto-format" in call for call in calls)
    assert calls[-1][:3] == ["jarsigner", "-keystore", str(tools.cache / "debug.keystore")]
    manifest = (tools.folder / "AndroidManifest.xml").read_text()
    assert 'android:extractNativeLibs="true"' in manifest
    with zipfile.ZipFile(built.package) as module:
        kinds = {info.filename: info.compress_type for info in module.infolist()}
    assert {"manifest/AndroidManifest.xml", "dex/classes.dex"} < {*kinds}
    assert kinds[f"lib/{ABI}/libQnnHtp.so"] == zipfile.ZIP_DEFLATED
    native = {"enabled": False, "alignment": "PAGE_ALIGNMENT_16K"}
    config = json.loads((tools.folder / "config.json").read_text())
    assert config == {"optimizations": {"uncompressNativeLibraries": native}}

    tools.fail("jarsigner")
    with pytest.raises(BuildError, match="jarsigner does not work"):
        demo_app.build_app(bundle, tmp_path / "new" / "other.aab", options, aab=True)
    assert [*(tmp_path / "new").iterdir()] == []  # neither the app nor its bill of materials
