# One study from its parameter file to the book. One rule a notebook; a job runs again when its parameters, its
# notebook, the modules it uses, the images or its weights file change. `make study` looks for damaged files first.
#   snakemake --cores all --config study=quick            (what `make study` calls)
#   snakemake --cores all --config study=quick --dry-run  (what would run, and why)
# Further keys of --config: use=<an alternative of the study>, only=<one of its triples>, rehearse=1 (the same steps at a
# size of seconds).
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from p2p.digests import weights_digest
from p2p.errors import UserError
from p2p.study.modules import modules_of
from p2p.study.share_params import share_params
from p2p.study.study import load_study

try:
    file = Path(workflow.basedir) / "params" / f"{config.get('study', 'quick')}.yaml"
    STUDY = load_study(file, config.get("use", ""), bool(config.get("rehearse")), config.get("only", ""))
    NAME, RUNS, EVALUATIONS, PAGE = STUDY.study, STUDY.runs(), STUDY.evaluations(), STUDY.page()
    DATA, SHARE = STUDY.data_params(), share_params(STUDY)
    IMAGES = ""  # of drawn birds the parameters say all
    if DATA.reader != "birds":
        from p2p.data.source import images_digest

        IMAGES = images_digest(DATA)
    WEIGHTS = {name: weights_digest(run.weights, run.network) for name, run in RUNS.items()}
except UserError as error:
    raise WorkflowError(str(error))

OUT, RUN = f"results/{NAME}", f"runs/{NAME}"
GPU = STUDY.gpus or int(shutil.which("nvidia-smi") is not None)  # a cluster's profile says it instead
PAGES = ["12_own"] if STUDY.private else ["04_table", "06_topk", "07_gallery"]
PAGES += ["05_tree"] if RUNS[next(iter(PAGE.networks.values()))].decision == "tree" else []
NOTEBOOKS = [f"{OUT}/{page}.ipynb" for page in ["01_data", *PAGES]]
NOTEBOOKS += [f"{OUT}/02_train-{run}.ipynb" for run in RUNS] + [f"{OUT}/03_evaluate-{e}.ipynb" for e in EVALUATIONS]
TABLES = ["metrics.csv", "claims.csv", "table.md", "findings.md", "study.json"]
TABLES += ["budget.csv"] if any(triple.budget for triple in STUDY.triples) else []
NOTEBOOKS += [f"{OUT}/08_share.ipynb"] if SHARE else []
NOTEBOOKS += [f"{OUT}/14_explorer.ipynb"] if STUDY.explorer else []
TABLES += ["sharing.csv", "sharing.json"] if SHARE else []
OWN = ["summary.txt", "accuracy.csv", "own.json"]
SHOWN = OWN if STUDY.private else [*TABLES, "provenance.json", "costs.csv"]
INDEX = f"book/_build/own-{NAME}/html/index.html" if STUDY.private else "book/_build/html/index.html"
BUILD = f"--own {NAME}" if STUDY.private else f"--strict --study {NAME}"
BOOK_MODULES = {m for file in Path("book").glob("*.py") for m in modules_of(str(file), Path(workflow.basedir))}
os.environ["P2P_PYTHON"] = sys.executable  # not in the commands: another folder is no reason to run again
EXECUTE = "$P2P_PYTHON notebooks/execute.py"


def step(name):
    """A rule's notebook, and all modules that it imports: a change in any of them makes the rule run again."""
    notebook = f"notebooks/{name}.py"
    return [notebook, *modules_of(notebook, Path(workflow.basedir))]


def teacher_of(wildcards):
    teachers = [RUNS[wildcards.run].teacher_run, RUNS[wildcards.run].other_teacher_run]
    return [f"{RUN}/{teacher}/run.json" for teacher in teachers if teacher]


def runs_of(wildcards):
    e = EVALUATIONS[wildcards.evaluation]
    names = [e.teacher_run, e.baseline_run, *e.student_runs.values(), *e.control_runs.values(), *e.budget_runs.values()]
    names.append(e.second_teacher_run)
    return [f"{RUN}/{name}/run.json" for name in names if name]


wildcard_constraints:
    run="[^/]+", evaluation="[^/]+", page="05_tree|06_topk|07_gallery",


localrules: all, book,


rule all:  # every file by name: one that is gone while the book is there would not be missed
    input:
        INDEX, NOTEBOOKS,
        [f"{OUT}/{name}" for name in SHOWN],
        [f"{OUT}/evaluations/{e}.{kind}" for e in EVALUATIONS for kind in ("csv", "json")],
        [f"{RUN}/{run}/run.json" for run in RUNS],


rule data:
    input:
        step("01_data"),
    output:
        f"{OUT}/01_data.ipynb",
    priority: 1  # first, where it can be: it says what is wrong with the images
    params:
        json=lambda w: DATA.model_dump_json(),  # a function: of a string Snakemake would fill in what stands in braces
        images=IMAGES,
    shell:
        EXECUTE + " {input[0]} {output} --parameters {params.json:q}"


rule train:
    input:
        step("02_train"),
        teacher=teacher_of,
    output:
        run=f"{RUN}/{{run}}/run.json",
        notebook=f"{OUT}/02_train-{{run}}.ipynb",
    params:
        json=lambda w: RUNS[w.run].model_dump_json(),
        images=IMAGES,
        weights=lambda w: WEIGHTS[w.run],
    threads: STUDY.threads
    resources:
        gpu=GPU,
    shell:
        EXECUTE + " {input[0]} {output.notebook} --parameters {params.json:q} --threads {threads} --gpu"


rule evaluate:
    input:
        step("03_evaluate"),
        runs_of,
    output:
        notebook=f"{OUT}/03_evaluate-{{evaluation}}.ipynb",
        table=f"{OUT}/evaluations/{{evaluation}}.csv",
        record=f"{OUT}/evaluations/{{evaluation}}.json",
    params:
        json=lambda w: EVALUATIONS[w.evaluation].model_dump_json(),
        images=IMAGES,
    threads: STUDY.threads
    resources:
        gpu=GPU,
    shell:
        EXECUTE + " {input[0]} {output.notebook} --parameters {params.json:q} --threads {threads} --gpu"


# What a table needs of runs that lie on another machine is in the files of an earlier time: `update` keeps them.
rule table:
    input:
        step("04_table"),
        [f"{OUT}/evaluations/{e}.csv" for e in EVALUATIONS],
    output:
        notebook=f"{OUT}/04_table.ipynb",
        tables=[f"{OUT}/{name}" for name in TABLES if not name.startswith("sharing.")],
        records=update([f"{OUT}/provenance.json", f"{OUT}/costs.csv"]),
    params:
        json=lambda w: PAGE.model_dump_json(),
        images=IMAGES,
    shell:
        EXECUTE + " {input[0]} {output.notebook} --parameters {params.json:q}"


rule share:  # of a study that merges prototypes
    input:
        step("08_share"),
        [f"{RUN}/{run}/run.json" for trio in (SHARE.trios if SHARE else []) for run in (trio.teacher, trio.baseline, trio.student)],
    output:
        f"{OUT}/08_share.ipynb",
        f"{OUT}/sharing.csv",
        f"{OUT}/sharing.json",
    params:
        json=lambda w: SHARE.model_dump_json(),
        images=IMAGES,
    threads: STUDY.threads
    resources:
        gpu=GPU,
    shell:
        EXECUTE + " {input[0]} {output[0]} --parameters {params.json:q} --threads {threads} --gpu"


rule page:
    input:
        lambda w: step(w.page),
        [f"{OUT}/evaluations/{e}.csv" for e in EVALUATIONS],
    output:
        f"{OUT}/{{page}}.ipynb",
    params:
        json=lambda w: PAGE.model_dump_json(),
        images=IMAGES,
    shell:
        EXECUTE + " {input[0]} {output} --parameters {params.json:q}"


rule explorer:  # what the book's explorer shows of the study
    input:
        step("14_explorer"),
        [f"{OUT}/evaluations/{e}.csv" for e in EVALUATIONS],
    output:
        notebook=f"{OUT}/14_explorer.ipynb",
        data=f"{OUT}/explorer/data.js",
    params:
        json=lambda w: PAGE.model_dump_json(),
        images=IMAGES,
    shell:
        EXECUTE + " {input[0]} {output.notebook} --parameters {params.json:q}"


rule own:  # the page of a private study, in the place of tables and claims
    input:
        step("12_own"),
        [f"{OUT}/evaluations/{e}.csv" for e in EVALUATIONS],
    output:
        notebook=f"{OUT}/12_own.ipynb",
        tables=[f"{OUT}/{name}" for name in OWN],
    params:
        json=lambda w: PAGE.model_dump_json(),
        images=IMAGES,
    shell:
        EXECUTE + " {input[0]} {output.notebook} --parameters {params.json:q}"


rule book:  # its pages of questions are over all studies that there are
    input:
        NOTEBOOKS,
        [f"{OUT}/{name}" for name in SHOWN],
        sorted(BOOK_MODULES), "book/_config.yml", "book/references.bib",
        sorted(str(path) for kind in ("*.md", "*.py", "_ext/*.py", "_static/*.*") for path in Path("book").glob(kind)),
        [step(path.stem) for path in sorted(Path("notebooks").glob("[23]?_*.py"))],
        sorted(str(path) for path in Path("networks").glob("*/*/run.json")),
    output:
        INDEX,
    shell:
        f"$P2P_PYTHON book/build.py {BUILD}"
