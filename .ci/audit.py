"""Known faults of the versions in a file of requirements, by pip-audit: exit 1 where there are, one line where not.

An index that knows none of the packages, or cannot be reached, has audited nothing, and the line says so.
"""

import json
import subprocess
import sys


def main(audit: str, requirements: str) -> int:
    """Run `audit` (pip-audit); returns the exit status."""
    command = [audit, "--requirement", requirements, "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=600)
        found = json.loads(done.stdout)["dependencies"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        print(f"audit: skipped, pip-audit could not run ({type(error).__name__})")
        return 0
    faults = [f"{one['name']} {one['version']} has {each['id']}" for one in found for each in one.get("vulns", ())]
    for fault in faults:
        print(f"audit: {fault}")
    unknown = sum("skip_reason" in one for one in found)
    if unknown == len(found):
        print(f"audit: skipped, the index tells nothing of any of the {len(found)} packages")
    else:
        print(f"audit: {len(faults)} known faults in {len(found) - unknown} packages; {unknown} could not be looked up")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
