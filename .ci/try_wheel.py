"""Build a wheel, install it into a fresh environment, and use it away from the repository.

    python .ci/try_wheel.py FOLDER

The environment borrows the libraries of the Python that runs this, so that only the wheel is installed.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    ("--help",),
    ("list",),
    ("protocols", "show", "linear"),
    ("new", "method", "mine"),
    ("report", "--results", "results", "--out", "reports"),
)
PAGES = ("README.md", "docs/index.md", "docs/reference.md", "docs/data-formats.md", "docs/add-a-method.md")


def say(*command: object, folder: Path) -> str:
    """Run a command in a folder and return its output; end with that output if it fails."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(out: Path) -> None:
    """Build into `out` and try what was built."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("recon_bench-*.whl"):
        old.unlink()
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would pack what is deleted since
    say(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out.resolve(), ".", folder=ROOT)
    (wheel,) = out.resolve().glob("recon_bench-*.whl")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        say(sys.executable, "-m", "venv", place / "fresh", folder=place)
        python = place / "fresh" / "bin" / "python"
        say(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, folder=place)
        libraries = say(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=place).strip()
        # A path in a .pth file is searched, but its own .pth files are not read: the repository stays out of reach.
        (Path(libraries) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        package = Path(say(python, "-P", "-c", "import bench; print(bench.__path__[0])", folder=place).strip())
        if place.resolve() not in package.resolve().parents:
            sys.exit(f"expected the package of the wheel, but {package} was imported")
        sources = ROOT / "bench"
        wanted = {path.relative_to(sources) for path in sources.rglob("*") if "__pycache__" not in path.parts}
        if missing := sorted(str(path) for path in wanted if not (package / path).exists()):
            sys.exit(f"the wheel lacks {', '.join(missing)}: name them in [tool.setuptools.package-data]")
        pages = place / "fresh" / "share" / "doc" / "recon-bench"
        if missing := [page for page in PAGES if not (pages / page).is_file()]:
            sys.exit(f"the wheel lacks {', '.join(missing)}: name them in [tool.setuptools.data-files]")
        (place / "results").mkdir()
        shutil.copy(ROOT / "results" / "README.md", place / "results")
        for arguments in COMMANDS:
            print(f"bench {' '.join(arguments)}")
            say(python.parent / "bench", *arguments, folder=place)
    print(f"{wheel.name}: installed and tried")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
