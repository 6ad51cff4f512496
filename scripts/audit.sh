#!/bin/sh
# What we stand on, looked over: known holes, licences, a bill of materials, secrets in the tree. sh scripts/audit.sh VENV OUT
# The tools live in an environment of their own, so that they are no part of what they look at.
set -eu
venv=$1 out=$2 tools=$1-audit
mkdir -p "$out"
[ -x "$tools/bin/pip-audit" ] || {
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-audit.txt
}
found=0
echo "Known holes (pip-audit), of the versions in constraints.txt:"
"$tools/bin/pip-audit" --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off --format markdown \
    --output "$out/holes.md" || found=1
cat "$out/holes.md" 2>/dev/null || true
echo "Licences, to $out/licences.md:"
"$tools/bin/pip-licenses" --python "$venv/bin/python" --format markdown --with-urls --output-file "$out/licences.md"
"$venv/bin/python" scripts/check_licences.py "$out/licences.md" || found=1
echo "Bill of materials (CycloneDX), to $out/sbom.json:"
"$tools/bin/cyclonedx-py" environment "$venv/bin/python" --output-format JSON --output-file "$out/sbom.json"
echo "Secrets (detect-secrets) in what git tracks:"
git ls-files -z | grep -zvE '^assets/(SHA256SUMS|.*\.json$)|^tests/(golden|snapshots)/' \
    | xargs -0 "$tools/bin/detect-secrets-hook" --no-verify --disable-plugin Base64HighEntropyString || found=1
[ "$found" = 0 ] && echo "Nothing found." || { echo "See above."; exit 1; }
