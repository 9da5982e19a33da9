"""Motion planning: problems, samplers learned from their solutions, and planners to use these in.

The parts that need the extra packages (``lowerbound.planning.ompl``, ``lowerbound.planning.bullet``) import them when
they are first used.
"""

from .arm import ArmProblem, Chain, wam
from .curves import Record, cost_ratio, measure, samples_for, success_curve, wilson
from .data import Made, load_data, make_data, read_meta
from .export import export_onnx, write_states
from .families import FAMILIES, family, family_from
from .family_file import load_family
from .integrator import DoubleIntegrator, IntegratorProblem
from .learned import Learned, model_for
from .new import new_family
from .pictures import problem_picture, success_picture
from .planar import Forest, Maze, NarrowPassage, PlanarProblem
from .problem import Counts, Family, Problem
from .roadmap import Result, anytime, plan
from .samplers import Bridge, Fixed, GaussianSampler, Halton, Mixed, NearEnds, Sampler, Uniform
from .scene_file import read_scene
from .scenes import Wam
from .solve import connect, resample, shorten
from .targets import solution, targets
from .thinning import representatives
from .train import SETTINGS, load_sampler, train

__all__ = [
    "FAMILIES",
    "SETTINGS",
    "ArmProblem",
    "Bridge",
    "Chain",
    "Counts",
    "DoubleIntegrator",
    "Family",
    "Fixed",
    "Forest",
    "GaussianSampler",
    "Halton",
    "IntegratorProblem",
    "Learned",
    "Made",
    "Maze",
    "Mixed",
    "NarrowPassage",
    "NearEnds",
    "PlanarProblem",
    "Problem",
    "Record",
    "Result",
    "Sampler",
    "Uniform",
    "Wam",
    "anytime",
    "connect",
    "cost_ratio",
    "export_onnx",
    "family",
    "family_from",
    "load_data",
    "load_family",
    "load_sampler",
    "make_data",
    "measure",
    "model_for",
    "new_family",
    "plan",
    "problem_picture",
    "read_meta",
    "read_scene",
    "representatives",
    "resample",
    "samples_for",
    "shorten",
    "solution",
    "success_curve",
    "success_picture",
    "targets",
    "train",
    "wam",
    "wilson",
    "write_states",
]
