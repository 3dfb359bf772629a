"""How a decoder is read as a sparse encoder; kept in `lsr_network.json` (no torch)."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from ..errors import EncoderError


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """What a decoder does beyond what its checkpoint says."""

    attention: Literal["causal", "bidirectional"] = "causal"
    """Which positions one sees: those before it, or all of the text (arXiv 2404.05961)."""
    echo: bool = False
    """Feed the text twice and read the second copy, which has seen the whole text in spite of a
    causal mask (Echo-Mistral-SPLADE, arXiv 2408.11119)."""
    exclude: Literal["special", "bos", "none"] = "special"
    """Positions that are never pooled: of any special token, of those before the text, of none.
    Attention sinks in BOS: with it pooled, LACONIC (arXiv 2601.01684) is at chance. In an echo no
    token before the text is pooled, whatever is said here: it has no second copy."""
    logit_scale: float = 1.0
    """Multiplies every logit but not the shift; Lion-SP (arXiv 2502.15526) takes width^(-1/4)."""

    def content(self) -> dict[str, Any]:
        """What `lsr_network.json` holds."""
        return {"kind": "decoder", **asdict(self)}

    @classmethod
    def of(cls, content: dict[str, Any], *, named_in: object) -> "DecoderSettings":
        """Check what was read; an unknown key may change vectors, so it is refused."""
        hints = get_type_hints(cls)
        values = {key: value for key, value in content.items() if key != "kind"}
        for key, value in values.items():
            if key not in hints:
                raise EncoderError(
                    f"{named_in}: unknown setting {key!r}; known are "
                    f"{', '.join(field.name for field in fields(cls))}. The encoder needs a newer "
                    "version of this package"
                )
            allowed = get_args(hints[key])
            good = value in allowed if allowed else type(value) is hints[key]
            if not good or (key == "logit_scale" and not 0 < value < float("inf")):
                raise EncoderError(f"{named_in}: {key} = {value!r} is not a value of this setting")
        return cls(**values)
