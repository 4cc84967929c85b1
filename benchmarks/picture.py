"""Draw the picture of the README: a text, coloured by the model that proposed each token: `python benchmarks/picture.py`.

The text is decoded when the picture is drawn; with this seed it is the same each time, in float32.
"""

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from unisono import Ensemble, SamplingParams, combine
from unisono.text.trace import Trace

PICTURE = Path(__file__).parents[1] / "docs/figures/who-wrote-what.svg"
PROMPT = 'def read_csv(path):\n    """Read a CSV file and return its rows as dictionaries."""\n'
PARAMS = SamplingParams(max_tokens=78, temperature=0.6, seed=8)
TITLE = "zoo:code-m + zoo:code-n, weighted:0.5,0.5, cos:1,1, temperature 0.6"


def drawn() -> str:
    """The picture as SVG, without fonts from elsewhere."""
    console = Console(record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=86)
    members = [{"model": f"zoo:{name}", "dtype": "float32"} for name in ("code-m", "code-n")]
    ensemble = Ensemble.load(members, combine.weighted([0.5, 0.5]), "cos:1,1")
    trace = Trace(ensemble.tokenizer, ensemble.names, console)
    console.print(PROMPT, style="dim", end="", markup=False, highlight=False)
    for piece in ensemble.stream(PROMPT, PARAMS):
        if piece.commit:
            trace.token(piece.commit)
    console.print()
    plain = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    plain = plain.replace("Fira Code, monospace", "monospace")
    return console.export_svg(title=TITLE, theme=MONOKAI, code_format=plain, unique_id="unisono")


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
