"""Generated requests, right and wrong, to every operation that the server describes: schemathesis' phases.

    python benchmarks/requests.py                           # a server of its own, with the bundled model
    python benchmarks/requests.py http://127.0.0.1:8000     # one that runs already; further options are schemathesis'

No answer may be a 5xx, take longer than `--request-timeout`, or be other than the description says.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def attack(url: str, options: list[str]) -> int:
    program = Path(sys.executable).parent / "schemathesis"
    given = ["--phases", "examples,coverage,fuzzing", "--mode", "all", "--checks", CHECKS, "--continue-on-failure"]
    return subprocess.run([str(program), "run", f"{url}/openapi.json", *given, *options], check=False).returncode


def main() -> None:
    given = sys.argv[1:]
    if given and given[0] in ("-h", "--help"):
        print(__doc__)
        return
    url = given.pop(0) if given and given[0].startswith("http") else None
    options = given or ["--max-examples", "100", "--request-timeout", "60"]
    if url is not None:
        sys.exit(attack(url, options))
    sys.path.insert(0, str(Path(__file__).parent))
    from serve import serving

    with serving(threads=1) as place:
        code = attack(f"http://127.0.0.1:{place.port}", options)
    sys.exit(code)


if __name__ == "__main__":
    main()
