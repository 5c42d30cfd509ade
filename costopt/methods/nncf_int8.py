"""Int8 weights and activations by NNCF, the quantiser of Intel's OpenVINO: a peer to `int8_static` inside the house.

NNCF chooses itself what to quantise, from patterns that OpenVINO fuses; it smooths transformers' activations
(SmoothQuant) and corrects biases unasked. What it gives is an ONNX graph with QDQ pairs.

Source: Kozlov et al., Neural Network Compression Framework for fast model inference, arXiv:2002.08679;
https://github.com/openvinotoolkit/nncf. Needs the package `nncf`, which is not part of costopt: pip install nncf

Cost: that of `int8_static`, and the import of the package. Helps on the OpenVINO provider: 2.8x at batch 1, 3.2x at
batch 8 on an encoder of 22.7M parameters; on ONNX Runtime's own CPU provider the same file was 0.68x, slower than
float32 (measured 2026-11, 2-core Xeon with AMX, NNCF 3.4.0). Mean cosine to the original there 0.996 (300 texts).
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Literal

import onnx

from costopt import rewriting
from costopt.errors import NotApplicable
from costopt.methods import Arrays, Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph
from costopt.rounding.activations import batches, flowing
from costopt.rounding.qdq import COMPUTED, ready

IN_CI = "NNCF_CI"
"""The environment variable that NNCF asks, when it is imported, for whether to report its use."""


@dataclass(frozen=True)
class NncfInt8(OnnxMethod):
    """Int8 weights and activations by NNCF.

    `preset: mixed` gives activations that ReLU has not cut a zero point, `performance` gives none. `transformer` says
    whether NNCF treats the model as one: auto does where there is a Softmax. `samples` is how many calibration samples
    are read at most.
    """

    preset: Literal["mixed", "performance"] = "mixed"
    transformer: Literal["auto", "yes", "no"] = "auto"
    samples: int = 256

    def unsuitable(self, graph: Graph) -> str | None:
        """The missing package, or the operators that hold the weights, when they have no integer kernel."""
        return _missing() or weights_elsewhere(graph, COMPUTED, "has no static int8 kernel")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model with QDQ pairs.

        Raises NotApplicable when NNCF is not installed or no layer has constant float32 weights, CandidateError when
        there are no calibration samples or NNCF refuses the model.
        """
        if reason := _missing():
            raise NotApplicable(reason)
        model = ready(source)
        inputs = batches(model, calibration, self.samples)
        first = next(inputs)  # asked for outside of NNCF, so that what is wrong with the data is said in our words
        quantised = rewriting.tidied(self._quantised(model, list(chain([first], inputs))))
        for _ in flowing(quantised, [one.name for one in quantised.graph.output], [first]):
            pass  # NNCF does not run what it makes: ONNX Runtime may refuse it
        rewriting.write(quantised, target)

    def _quantised(self, model: onnx.ModelProto, inputs: list[Arrays]) -> onnx.ModelProto:
        attention = any(node.op_type == "Softmax" for node in model.graph.node)
        with rewriting.third_party("quantisation by NNCF"), _unreported():
            import nncf
            from nncf.quantization.advanced_parameters import (
                QuantizationParameters,
            )

            nncf.set_log_level(logging.CRITICAL)
            transformer = self.transformer == "yes" or (self.transformer == "auto" and attention)
            made: onnx.ModelProto = nncf.quantize(
                model,
                nncf.Dataset(inputs),
                preset=nncf.QuantizationPreset(self.preset),
                subset_size=len(inputs),
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    # ONNX Runtime's convolutions take one scale for an activation; NNCF gives depthwise ones many
                    activations_quantization_params=QuantizationParameters(per_channel=False)
                ),
            )
            return made


def _missing() -> str | None:
    return None if find_spec("nncf") else "the package nncf is not installed: pip install nncf"


@contextmanager
def _unreported() -> Iterator[None]:
    """Let NNCF send no usage statistics over the network, as it does where it does not take itself to be in CI."""
    before = os.environ.get(IN_CI)
    os.environ[IN_CI] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[IN_CI]
        else:
            os.environ[IN_CI] = before
