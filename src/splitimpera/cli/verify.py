"""`splitimpera verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splitimpera.cli.verbosity import Verbose

TOKENS = "token-verification.json"


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a design, with its results.json.")],
    logs: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="Logs that 'splitimpera infer --log' wrote, of one plan.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for verification.json and verify.html (default: RUN).")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the device's measured times as a profile for the next design (JSON), and the server's beside "
            "it, as FILE-server.",
        ),
    ] = None,
    anew: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the scenario of the next design: this one, with machines and link as they were measured where "
            "they have drifted.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle that was run: logs of another one are refused.")
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Of a run that chose among plans: whose frames are compared (default: who sent most)."
        ),
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Compare a deployed run with what its design predicted: latency, each part, losses, accuracy, requirements."""
    from splitimpera.core.files import check_file, check_writable

    if out is not None:
        check_writable(out, "--out")
    if calibrate is not None:
        check_file(calibrate, "--calibrate")
    if anew is not None:
        check_writable(anew, "--anew")

    from splitimpera.cli.terminal import console
    from splitimpera.core.errors import DataError
    from splitimpera.deploy.token_log import is_token_log

    if is_token_log(logs[0]):
        for option, asked in {"--calibrate": calibrate, "--anew": anew, "--bundle": bundle, "--plan": plan}.items():
            if asked is not None:
                raise DataError("this is not there for logs of language models", where=option, hint="leave it out")
        return _verify_tokens(folder, logs, folder if out is None else out)

    from splitimpera.report.verified_tables import verification_tables
    from splitimpera.report.verified_writing import FILES, write_verification
    from splitimpera.verification.anew import write_anew
    from splitimpera.verification.calibration import calibrated, profile_paths
    from splitimpera.verification.comparing import compared, matched

    results, entry, given, prediction, found = matched(folder, logs, bundle, plan)
    place = folder if out is None else out
    check_writable(place, "--out", FILES)
    profiles = {} if calibrate is None else calibrated(results, entry, given, found)
    verification = compared(results, entry, given, prediction, found)
    files = write_verification(verification, place)
    console.print(verification_tables(verification))
    console.print(f"Written to {place}: {', '.join(sorted(path.name for path in files))}", soft_wrap=True)
    if calibrate is not None:
        from splitimpera.cost.profiles import write_profile

        paths = profile_paths(calibrate, entry)
        for name, profile in profiles.items():
            write_profile(profile, paths[name], "--calibrate")
        told = ", ".join(f"{{name: {name}, profile: {paths[name]}}}" for name in profiles)
        console.print(
            f"Measured times are written; the next scenario takes them with  devices: [{told}]", soft_wrap=True
        )
    if anew is not None:
        scenario, *_ = write_anew(anew, results, entry, given, prediction, verification.drift)
        console.print(f"The next scenario is written: splitimpera design {scenario}", soft_wrap=True)
    return None


def _verify_tokens(folder: Path, logs: list[Path], place: Path) -> None:
    """Of a language model's logs."""
    from json import dumps

    from splitimpera.cli.terminal import console
    from splitimpera.core.files import check_writable
    from splitimpera.core.folders import write_together
    from splitimpera.verification.token_verification import verify_tokens

    check_writable(place, "--out", (TOKENS,))
    found = verify_tokens(folder, logs)
    write_together(place, {TOKENS: dumps(found.as_json(), indent=1).encode()}, "--out")
    failed = f", {found.failed} of them failed" if found.failed else ""
    console.print(f"plan {found.plan}: {found.requests} requests{failed}, {found.tokens} tokens", soft_wrap=True)
    for line in (*map(str, found.quantities), *(f"but {caution}" for caution in found.cautions)):
        console.print(line, soft_wrap=True)
    console.print(f"Written to {place}: {TOKENS}", soft_wrap=True)
