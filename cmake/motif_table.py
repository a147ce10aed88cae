"""Write data/motifs.toml as a C++ header: motif_table.py TOML HEADER."""

import sys
import tomllib
from pathlib import Path

source, header = map(Path, sys.argv[1:])
table = tomllib.loads(source.read_text(encoding="utf-8"))
classes = table["class"]


def _pairs(name: str) -> list[str]:
    return [
        f'    {{"{pair.split("-")[0]}", "{pair.split("-")[1]}", {cutoff}}},'
        for pair, cutoff in table[name].items()
    ]


lines = [
    f"// Made from {source.name} by {Path(__file__).name}; change that file.",
    "#ifndef LBPSI_TABLE_DATA_H",
    "#define LBPSI_TABLE_DATA_H",
    "",
    "namespace lbpsi {",
    "",
    "enum class MotifClass {",
    *(f"  {entry['id']} = {code}," for code, entry in enumerate(classes, 1)),
    "};",
    "",
    "namespace table {",
    "",
    f"constexpr int CHAIN = {table['chain']};",
    f"constexpr double ENVIRONMENT = {table['environment_A']};",
    "",
    "constexpr Element ELEMENTS[] = {",
    *(
        f'    {{"{e["symbol"]}", {e["number"]}, {e["mass"]}, Role::{e["role"]}, {e["charge"]}}},'
        for e in table["element"]
    ),
    "};",
    "",
    "constexpr PairCutoff BONDS[] = {",
    *_pairs("bond"),
    "};",
    "",
    "constexpr PairCutoff SHELLS[] = {",
    *_pairs("shell"),
    "};",
    "",
    "constexpr const char *CLASS_NAMES[] = {",
    *(f'    "{entry["name"]}",' for entry in classes),
    "};",
    "",
    "}    // namespace table",
    "}    // namespace lbpsi",
    "",
    "#endif",
    "",
]
header.parent.mkdir(parents=True, exist_ok=True)
header.write_text("\n".join(lines), encoding="utf-8")
