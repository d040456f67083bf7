r"""How LaTeX writes letters that are its own or that its fonts have under another name.

Left to themselves in any engine: ASCII letters, digits and what stands for itself. Accented letters are put together
from `ACCENTS`. `\texttt` holds the signs that other fonts of the old encoding replace: quotes, for one.
"""

from __future__ import annotations

from collections.abc import Mapping

ACCENTS: Mapping[str, str] = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0304": r"\=",
    "\u0306": r"\u",
    "\u0307": r"\.",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030b": r"\H",
    "\u030c": r"\v",
    "\u0323": r"\d",
    "\u0327": r"\c",
}
"""Combining accent -> the command that puts it on a letter."""

OWN = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "{}$&#%_"},
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",
    "`": r"\texttt{\char96}",
    "[": "{[}",
    "]": "{]}",
}
TEXT = {
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "“": "``", "”": "''", "‘": "`", "’": "'", "–": "--", "—": "---",
    "…": r"\dots{}", "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}",
}  # fmt: skip
RAISED = {
    raised: rf"\textsuperscript{{{letter}}}"
    for raised, letter in zip("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", "abcdefghijklmnoprstuvwxyz", strict=True)
}
SIGNS = {
    "±": r"\pm", "×": r"\times", "÷": r"\div", "−": "-", "≤": r"\le", "≥": r"\ge", "≈": r"\approx", "∼": r"\sim",
    "↑": r"\uparrow", "↓": r"\downarrow", "→": r"\rightarrow", "·": r"\cdot", "°": r"^\circ", "∞": r"\infty",
    "²": "^2", "³": "^3", "√": r"\surd", "∑": r"\sum",
}  # fmt: skip
GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho",
    "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma",
    "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi",
    "Ω": "Omega",
}  # fmt: skip
LETTERS: Mapping[str, str] = {
    **OWN,
    **TEXT,
    **RAISED,
    **{sign: f"${command}$" for sign, command in SIGNS.items()},
    **{letter: rf"$\{name}$" for letter, name in GREEK.items()},
}
"""Letter -> what stands for it."""
