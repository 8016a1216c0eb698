"""Triton's interpreter has no copy engine, so without a Hopper card the product for it is compiled at least.

In a process of its own: here Triton interprets.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SHARED_MEMORY = 227 * 1024  # of a block on Hopper
SCRIPT = """
import json
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource
from chorus_kernels.linear.shape import WHOLE, padded, tma_shape
from chorus_kernels.linear.tma.triton import product_kernel

rows, outs, inner, added = json.loads(sys.argv[1])
shape = tma_shape(rows, outs, inner, 132, WHOLE)
constants = dict(BLOCK_ROWS=padded(rows), BLOCK_OUT=shape.out, BLOCK_INNER=shape.inner, SPLITS=shape.splits,
                 STAGES=shape.stages, BIASED=added, ONTO=added, num_warps=shape.warps)
blocks = {"weight": [shape.out, shape.inner], "x": [padded(rows), shape.inner]}
layouts = {name: gl.NVMMASharedLayout.get_default_for(block, gl.bfloat16) for name, block in blocks.items()}
types = {name: f"tensordesc<bf16{block},{layouts[name]!r}>" for name, block in blocks.items()}
types |= {"bias": "*bf16", "y": "*bf16", "parts": "*fp32", "arrived": "*i32"}
types |= {name: "i32" for name in ("rows", "outs", "inner")}
types |= {name: "constexpr" for name in constants}
names = product_kernel.arg_names
source = GluonASTSource(product_kernel, types, {(names.index(name),): value for name, value in constants.items()})
target = GPUTarget("cuda", 90, 32)
kernel = triton.compile(source, target=target, options={"num_warps": shape.warps, "launch_pdl": True})
ptx = kernel.asm["ptx"]
counts = [ptx.count(name) for name in ("wgmma.mma_async", "cp.async.bulk.tensor", "griddepcontrol.wait")]
print(json.dumps({"shared": kernel.metadata.shared, "counts": counts}))
"""


def test_product_compiles_for_hopper(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TRITON_CACHE_DIR": str(tmp_path)}
    case = json.dumps((64, 4096, 14336, True))  # rows, outs, inner, bias and onto: split, with all there is
    command = [sys.executable, "-c", SCRIPT, case]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[0])
    assert told["shared"] <= SHARED_MEMORY
    assert min(told["counts"]) > 0  # the matrix units, the copy engine, and the wait for the kernel before
