"""The flags of `costopt plan --arch`: a model that is not here, said in numbers."""

from typing import Annotated

import typer

_PANEL = "A model that is not here"


def _flag(name: str, words: str) -> "typer.models.OptionInfo":
    option: typer.models.OptionInfo = typer.Option(name, help=words, rich_help_panel=_PANEL)
    return option


Arch = Annotated[
    str | None, _flag("--arch", "Plan on paper: llama, gpt, mistral, mixtral, decoder, encoder or cnn; with --rate.")
]
Params = Annotated[float | None, _flag("--params", "Its parameters: 70e9. The nearest published model gives the rest.")]
Layers = Annotated[int | None, _flag("--layers", "Its layers, where they are not the published ones.")]
Hidden = Annotated[int | None, _flag("--hidden", "Its width.")]
Heads = Annotated[int | None, _flag("--heads", "Its attention heads.")]
KvHeads = Annotated[int | None, _flag("--kv-heads", "Those of them with keys and values of their own.")]
Bits = Annotated[int, _flag("--bits", "Bits of a stored weight: 32, 16, 8 or 4.")]
KvBits = Annotated[int, _flag("--kv-bits", "Bits of a stored key or value: 16, 8 or 4.")]
Context = Annotated[
    int | None, _flag("--context", "Tokens of the longest request, prompt and answer. Else: their sum.")
]
PromptTokens = Annotated[int | None, _flag("--prompt-tokens", "Tokens of a prompt. Else: 550.")]
AnswerTokens = Annotated[int | None, _flag("--answer-tokens", "Tokens of an answer. Else: 150.")]
Tokens = Annotated[int | None, _flag("--tokens", "Tokens of an encoder's input. Else: 128.")]
Flops = Annotated[float | None, _flag("--flops", "Operations of a CNN's pass: 1.1e9; a multiply-add is two.")]
Rate = Annotated[float | None, _flag("--rate", "Requests a second, where --config does not say it.")]
TtftMs = Annotated[float | None, _flag("--ttft-ms", "Limit of the time to a first token, for 99 of 100 requests.")]
TpotMs = Annotated[float | None, _flag("--tpot-ms", "Limit of the mean time for each further token.")]
P99Ms = Annotated[float | None, _flag("--p99-ms", "Limit of the whole answer, for 99 of 100 requests.")]
Training = Annotated[bool, _flag("--training", "Plan its training instead of serving it; with --batch-tokens.")]
BatchTokens = Annotated[float | None, _flag("--batch-tokens", "Tokens of a training step on all machines: 4e6.")]
WaitingUsd = Annotated[
    float, _flag("--waiting-usd-per-hour", "What it costs an hour that somebody waits for the training.")
]
