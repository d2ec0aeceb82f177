"""The command line's words for each remedy: its commands and options."""

from __future__ import annotations

from mcad_mobile.errors import McadError, Remedy, fill

WORDS = {
    Remedy.EXPORT_AGAIN: "Export the bundle again: mcad-mobile export --target CHIP --out DIR.",
    Remedy.EXPORT_BUNDLE: (
        "Check the path, or make a bundle: mcad-mobile export --target CHIP --out DIR."
    ),
    Remedy.EXPORT_WITH_READER: (
        "Export it again to read text: mcad-mobile export --read-text --target CHIP --out DIR."
    ),
    Remedy.EXPORT_STUDENT: (
        "Make a bundle of it: mcad-mobile export --student {student} --target CHIP --out DIR."
    ),
    Remedy.GIVE_BUNDLE_OF_INDEX: (
        "Give the bundle that it was made with; an index is given by --index."
    ),
    Remedy.GIVE_BUNDLE_OF_SHARDS: (
        "Give the bundle that they were made with; shards are given by --from."
    ),
    Remedy.GIVE_EXPORTED_FOLDER: "Give the folder that `mcad-mobile export` wrote.",
    Remedy.CHOOSE_BUNDLE_FOLDER: "Give --out a new folder, or one that holds a bundle.",
    Remedy.GIVE_INDEX: (
        "Give the folder of an index, or leave --index out: an index lies beside its bundle."
    ),
    Remedy.MAKE_INDEX: (
        "Make one with: mcad-mobile index PHOTOS --bundle {bundle} --index {index}"
    ),
    Remedy.INDEX_WITH_BUNDLE: (
        "Make one: mcad-mobile index PHOTOS --bundle {bundle}, or leave that bundle out."
    ),
    Remedy.INDEX_SHARDS: (
        "These are shards. Make an index of them: mcad-mobile index --from {shards} --bundle "
        "{bundle}"
    ),
    Remedy.INDEX_FOLDER: "To take in new photos: mcad-mobile index PHOTOS --bundle {bundle}",
    Remedy.EMBED_ADDRESSES: (
        "For photos at addresses: mcad-mobile embed SOURCE --bundle {bundle} --out SHARDS"
    ),
    Remedy.CHOOSE_INDEX_FOLDER: "Give --index a new folder, or move that file to another one.",
    Remedy.MOVE_INDEX: (
        "Give --index another folder, or leave it out: an index lies beside its bundle."
    ),
    Remedy.TUNE_INDEX: (
        "Tune it again: mcad-mobile index --rebuild --bundle {bundle} --index {index}"
    ),
    Remedy.REPAIR_INDEX: (
        "Drop the damaged parts: mcad-mobile index --repair --bundle {bundle} --index {index}. "
        "Then embed those photos again: mcad-mobile index PHOTOS --bundle {bundle} --index {index}"
    ),
    Remedy.EMBED_AGAIN: (
        "Use the bundle that it was built with, or embed its photos again: mcad-mobile index "
        "--from {index} --bundle {bundle} --index NEW"
    ),
    Remedy.DROP_GONE: (
        "Give a folder that holds photos. To drop indexed photos whose files are gone, add --prune."
    ),
    Remedy.USE_LITERT: "Use --runtime litert: the .tflite that it was compiled from.",
    Remedy.USE_NEXT_RUNG: (
        "Update that runtime, or leave --runtime out: the next rung of the ladder may run."
    ),
    Remedy.USE_NO_GPU: (
        "Install onnxruntime-gpu in place of onnxruntime where there is a GPU, or leave --gpus out."
    ),
    Remedy.GIVE_TEXT_TOWER: (
        "Give a folder that `mcad-mobile distill --text-only` wrote, or 'multilingual'."
    ),
    Remedy.TRAIN_TEXT_TOWER: (
        "Give --student the folder that the text tower was trained for, or train another one: "
        "mcad-mobile distill --text-only."
    ),
    Remedy.GIVE_STUDENT: (
        "Give a folder that `mcad-mobile distill` wrote, hf:FOLDER for one that transformers "
        "wrote, open_clip:NAME[:CHECKPOINT], or nothing for the default student."
    ),
    Remedy.GIVE_FILES: (
        "Give --student onnx:IMAGE.onnx,TEXT.onnx, onnx:BOTH.onnx or "
        "litert:IMAGE.tflite,TEXT.tflite, and --tokenizer tokenizer.json --preprocess clip, "
        "siglip, imagenet or mobileclip."
    ),
    Remedy.GIVE_PREPROCESS: "Give --preprocess clip, siglip, imagenet or mobileclip.",
    Remedy.GIVE_TOKENIZER: "Give --tokenizer: the tokenizer.json of the text tower.",
    Remedy.ALLOW_LOW_PARITY: (
        "Calibrate on photos like your users' (--calibration DIR), or accept it with "
        "--allow-low-parity."
    ),
    Remedy.EXPORT_ELSEWHERE: (
        "Report this with what `mcad-mobile doctor` prints, and export on another machine: "
        "--allow-low-parity does not help here."
    ),
    Remedy.ALLOW_RECALL_DROP: (
        "Give --max-recall-drop {points}, more photos than {photos} in split {split}, or calibrate "
        "on photos like your users' (--calibration DIR)."
    ),
    Remedy.LIST_TARGETS: "`mcad-mobile targets` lists all.",
    Remedy.CHOOSE_PORT: (
        "Choose another one from 1024 on, or 0 for any that is free: --port 0. Another "
        "`mcad-mobile serve` may be running."
    ),
}


def hint_of(error: McadError) -> str:
    """Return an error's next step as the command line says it; "" if there is none."""
    return error.hint if error.remedy is None else fill(WORDS[error.remedy], error.values)
