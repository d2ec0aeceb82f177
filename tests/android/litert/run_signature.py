"""Run a .tflite by LiteRT: the bytes of each input are in FOLDER/args_0 and so on, and those of the
output go to FOLDER/output. Usage: run_signature.py MODEL FOLDER; without FOLDER, the names of the
inputs are printed."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1])
run = interpreter.get_signature_runner()
if len(sys.argv) == 2:
    print(*run.get_input_details())
    sys.exit()
folder = Path(sys.argv[2])
inputs = {
    name: np.frombuffer((folder / name).read_bytes(), facts["dtype"]).reshape(facts["shape"])
    for name, facts in run.get_input_details().items()
}
(output,) = run(**inputs).values()
(folder / "output").write_bytes(output.tobytes())
