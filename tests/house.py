"""The house as its rules see it: a tree of sources, and for each rule the places that break it."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = ("features", "pipeline", "flows", "dashboards")
MAY_IMPORT = {
    "features": {"features"},
    "pipeline": {"features", "pipeline"},
    "flows": {"features", "pipeline", "flows"},
    "dashboards": {"pipeline", "dashboards"},
}
# A room of pipeline/ imports from rooms before it. What stands at the door is one room, the first.
PIPELINE_ROOMS = (
    "door",
    "disk",
    "lake",
    "casework",
    "sources",
    "checks",
    "ingest",
    "proposal",
    "simulate",
    "evaluation",
    "models",
    "explanation",
    "policy",
    "registry",
    "export",
    "train",
    "score",
    "stores",
    "workspace",
    "status",
)
FEATURE_ROOMS = ("ip", "declarations", "groups", "sql", "state", "engines", "build", "docs")
HOMES = {
    "prefect": ("flows/",),
    "mlflow": ("pipeline/registry/", "pipeline/train/recording.py"),
    "pytorch_lightning": ("pipeline/models/layered/training.py",),
    "fastapi": ("dashboards/",),
    "jinja2": ("dashboards/",),
    "sqlalchemy": (
        "pipeline/casework/",
        "pipeline/registry/schema.py",  # MLflow's own tables are made and brought forward by it
        "pipeline/sources/watermark.py",
    ),
    "alembic": ("pipeline/casework/",),
    "click": ("strata.py",),
    "numba": ("features/engines/kernels.py",),
}
MAX_FILES = 12  # in a room, without its __init__.py
MAX_ROOMS_IN_A_CHAIN = 9
MAX_LINES = 450
MAX_LINES_OF = {
    "strata.py": 780,  # a command line is as long as its commands
    "features/engines/kernels.py": 720,  # compiled loops have one home
}
UNPICKLERS = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
UNPICKLING_CALLS = {"torch.load", "np.load", "pd.read_pickle"}
NOT_IN_FEATURES = {"torch", "sqlalchemy", "deltalake", "time"}
CLOCKS = {"now", "utcnow", "today"}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Sources = Mapping[str, str]  # a file's text by its path from the root


def read_sources(root: Path = ROOT) -> Sources:
    """The product's own Python files."""
    files = [file for floor in FLOORS for file in sorted((root / floor).rglob("*.py"))]
    files.append(root / "strata.py")
    return {str(file.relative_to(root)): file.read_text(encoding="utf-8") for file in files}


@cache
def parsed(text: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(text)


def imported_modules(text: str) -> set[str]:
    """Dotted names of all that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def imported_packages(text: str) -> set[str]:
    """Top-level names of all that a file imports."""
    return {name.split(".")[0] for name in imported_modules(text)}


def wrong_floors(sources: Sources) -> list[str]:
    """Files that import from a floor above their own."""
    floors = {*FLOORS, "strata"}
    found = []
    for path, text in sources.items():
        floor = path.split("/")[0]
        foreign = imported_packages(text) & floors - MAY_IMPORT.get(floor, floors)
        found += [f"{path} imports {name}" for name in sorted(foreign)]
    return found


def pipeline_room(module: str) -> str:
    """The room of a module of pipeline/; a file that is no room of its own stands at the door."""
    name = module.split(".")[1] if "." in module else "door"
    return name if name in PIPELINE_ROOMS else "door"


def feature_room(module: str) -> str:
    """The room of a module of features/; a file is a declaration, or of what builds."""
    name = module.split(".")[1] if "." in module else "declarations"
    if name in {"digest", "encoder"}:
        return "build"
    return name if name in FEATURE_ROOMS else "declarations"


def wrong_rooms(sources: Sources) -> list[str]:
    """Imports of a room that does not stand before the importer's own."""
    found = []
    for floor, order, room_of in (
        ("pipeline", PIPELINE_ROOMS, pipeline_room),
        ("features", FEATURE_ROOMS, feature_room),
    ):
        for importer, imported in own_imports(sources, floor):
            ours, theirs = room_of(importer), room_of(imported)
            if order.index(theirs) > order.index(ours):
                found.append(f"{importer} ({ours}) imports {imported} ({theirs})")
    return sorted(set(found))


def own_imports(sources: Sources, floor: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of our modules: importer, imported."""
    modules = {module_name(path): path for path in sources}
    for importer, path in modules.items():
        for name in imported_modules(sources[path]) & modules.keys():
            if importer.startswith(floor) and name.startswith(floor) and name != importer:
                yield importer, name


def module_name(path: str) -> str:
    """The dotted name of a file.

    >>> module_name("pipeline/lake/tables.py"), module_name("pipeline/casework/__init__.py")
    ('pipeline.lake.tables', 'pipeline.casework')
    """
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circles(sources: Sources) -> list[str]:
    """Modules that import one another."""
    graph: dict[str, set[str]] = {}
    for importer, imported in own_imports(sources):
        graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def longest_room_chain(sources: Sources) -> list[str]:
    """The longest way through the rooms of pipeline/ along imports."""
    graph: dict[str, set[str]] = {}
    for importer, imported in own_imports(sources, "pipeline"):
        ours, theirs = pipeline_room(importer), pipeline_room(imported)
        if ours != theirs:
            graph.setdefault(ours, set()).add(theirs)
    chains: dict[str, list[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        below = [chains[other] for other in graph.get(room, ())]
        chains[room] = [room, *max(below, key=len, default=[])]
    return max(chains.values(), key=len, default=[])


def strays(sources: Sources) -> list[str]:
    """Files that import a framework outside its home."""
    found = []
    for path, text in sources.items():
        for framework in sorted(imported_packages(text) & HOMES.keys()):
            if not path.startswith(HOMES[framework]):
                found.append(f"{path} imports {framework}")
    return found


def idle_frameworks(sources: Sources) -> list[str]:
    """Frameworks that nobody imports: they can go from the dependencies."""
    used = set[str]().union(*map(imported_packages, sources.values()))
    return sorted(HOMES.keys() - used)


def crowded_rooms(sources: Sources) -> list[str]:
    """Folders with more files than a room holds."""
    counts: dict[str, int] = {}
    for path in sources:
        folder, _, name = path.rpartition("/")
        if name != "__init__.py" and "migrations" not in folder:
            counts[folder] = counts.get(folder, 0) + 1
    return [f"{folder} has {count} files" for folder, count in counts.items() if count > MAX_FILES]


def facades(sources: Sources) -> list[str]:
    """Packages whose __init__.py is more than a docstring; casework's is the one that may be."""
    inits = {path: text for path, text in sources.items() if path.endswith("__init__.py")}
    return [
        path
        for path, text in inits.items()
        if len(parsed(text).body) > 1 and path != "pipeline/casework/__init__.py"
    ]


def unpicklers(sources: Sources) -> list[str]:
    """Files that could run what a file says by reading it."""
    found = []
    for path, text in sources.items():
        calls = {ast.unparse(node) for node in attributes(text)}
        if imported_packages(text) & UNPICKLERS or calls & UNPICKLING_CALLS:
            found.append(path)
    return found


def attributes(text: str) -> list[ast.Attribute]:
    """All `a.b` of a file."""
    return [node for node in ast.walk(parsed(text)) if isinstance(node, ast.Attribute)]


def features_that_know_too_much(sources: Sources) -> list[str]:
    """Files of features/ that know torch, a database or a clock."""
    found = []
    for path, text in sources.items():
        if path.startswith("features/"):
            clocks = CLOCKS & {node.attr for node in attributes(text)}
            known = imported_packages(text) & NOT_IN_FEATURES
            found += [f"{path} knows {name}" for name in sorted(clocks | known)]
    return found


def nested_comprehensions(sources: Sources) -> list[str]:
    """Comprehensions inside comprehensions."""
    found = []
    for path, text in sources.items():
        outer = [node for node in ast.walk(parsed(text)) if isinstance(node, COMPREHENSIONS)]
        found += [f"{path}:{node.lineno}" for node in outer if has_inner_comprehension(node)]
    return found


def has_inner_comprehension(node: ast.AST) -> bool:
    """Whether a comprehension stands below a node."""
    below = (inner for inner in ast.walk(node) if inner is not node)
    return any(isinstance(inner, COMPREHENSIONS) for inner in below)


def unclear_files(sources: Sources) -> list[str]:
    """Files that do not say their idea first, or are too long to be one."""
    found = []
    for path, text in sources.items():
        if text and not ast.get_docstring(parsed(text)):
            found.append(f"{path} does not say its idea")
        if len(text.splitlines()) > MAX_LINES_OF.get(path, MAX_LINES):
            found.append(f"{path} is too long to be one idea")
    return found
