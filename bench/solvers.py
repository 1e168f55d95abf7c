"""The deterministic schedulers of diffusers on the mixture of bench/solvers.ts, as peers to measure against.

A JSON request on standard input, {"steps": 1000, "betaStart": 1e-4, "betaEnd": 0.02, "law": {"means": [...],
"variances": [...], "weights": [...]}, "starts": [...], "exact": [...], "budgets": [10, 20]}, is answered by one line
of JSON on standard output: {"diffusers": its version, "torch": its version, "skipped": number of refused settings,
"results": [{"class", "setting", "asked", "budget", "evaluations", "error"}]}. The error is the root mean square distance
of the samples from the exact ones. Each setting is run with the most steps that stay within the budget of calls of
the model.

The model is exact, in float64. "asked" is "given" where it is asked at the time that the scheduler gives, between whole
times at the level where ln(sigma/alpha) is linear; "level" where it is asked at the scheduler's own sigma instead,
which spares the schedulers that round their times the rounding.

Run: echo "$REQUEST" | python bench/solvers.py
"""

import inspect
import itertools
import json
import math
import os
import sys
import warnings

import diffusers
import numpy as np
import torch
from diffusers.schedulers.scheduling_utils import AysSchedules

# ---- the mixture -------------------------------------------------------------------------------------------------


class Problem:
    """The law, the levels of the schedule, the starts and where they end."""

    def __init__(self, request):
        law = request["law"]
        self.means, self.variances, self.weights = (
            torch.tensor(law[name], dtype=torch.float64).reshape(1, -1)
            for name in ("means", "variances", "weights")
        )
        self.schedule = {
            "num_train_timesteps": request["steps"],
            "beta_start": request["betaStart"],
            "beta_end": request["betaEnd"],
            "beta_schedule": "linear",
        }
        betas = np.linspace(request["betaStart"], request["betaEnd"], request["steps"])
        kept = np.cumprod(1 - betas)
        self.ratios = np.sqrt((1 - kept) / kept)  # sigma/alpha of each index
        self.starts, self.exact = (
            torch.tensor(request[name], dtype=torch.float64).reshape(-1, 1)
            for name in ("starts", "exact")
        )

    def ratio(self, index):
        """sigma/alpha at a time of diffusers, an index from 0, between whole ones too."""
        logs = np.log(self.ratios)
        return math.exp(np.interp(float(index), np.arange(len(logs)), logs))

    def x0(self, x, alpha, sigma):
        """E[x_0 | x_t = x]."""
        spread = alpha**2 * self.variances + sigma**2
        gap = x - alpha * self.means
        shares = torch.softmax(self.weights.log() - (gap**2 / spread + spread.log()) / 2, 1)
        return (shares * (sigma**2 * self.means + alpha * self.variances * x) / spread).sum(1, True)

    def predict(self, kind, x, ratio):
        """The noise, or v = alpha·eps − sigma·x_0."""
        alpha = 1 / math.sqrt(1 + ratio**2)
        sigma = ratio * alpha
        x0 = self.x0(x, alpha, sigma)
        eps = (x - alpha * x0) / sigma
        return eps if kind == "eps" else alpha * eps - sigma * x0

    def error(self, x):
        return (x - self.exact).square().mean().sqrt().item()


# ---- one run -----------------------------------------------------------------------------------------------------


def level(scheduler):
    """sigma/alpha where the scheduler itself is, or None where it has whole times only."""
    index = scheduler.step_index or 0 if hasattr(scheduler, "step_index") else 0
    if isinstance(scheduler, diffusers.IPNDMScheduler):
        return (scheduler.betas[index] / scheduler.alphas[index]).item()
    if isinstance(scheduler, diffusers.KDPM2DiscreteScheduler) and not scheduler.state_in_first_order:
        return scheduler.sigmas_interpol[index].item()
    return scheduler.sigmas[index].item() if hasattr(scheduler, "sigmas") else None


def sample(problem, scheduler, family, asked):
    """The samples at the end, by as many calls of the model as there are timesteps."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    x = problem.starts
    if family.get("over_alpha"):
        x = x * math.sqrt(1 + level(scheduler) ** 2)
    for t in scheduler.timesteps:
        inputs = scheduler.scale_model_input(x, t)
        ratio = level(scheduler) if asked == "level" else problem.ratio(t)
        output = problem.predict(family.get("kind", "eps"), inputs, ratio)
        x = scheduler.step(output, t, x, return_dict=False, **family.get("step", {}))[0]
    return x


def fitting(make, budget):
    """The scheduler with the most steps that asks the model no more often than the budget says."""
    for steps in range(budget, 0, -1):
        scheduler = make(steps)
        if scheduler is not None and len(scheduler.timesteps) <= budget:
            return scheduler
    raise ValueError("no number of steps is within the budget")


# ---- the settings --------------------------------------------------------------------------------------------------

SPACINGS = [
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "trailing"},
    {"timestep_spacing": "leading"},
    {"timestep_spacing": "leading", "steps_offset": 1},
]
SIGMAS = [{"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"use_beta_sigmas": True}]
PRESETS = [{"timesteps": "StableDiffusionTimesteps"}, {"timesteps": "StableDiffusionXLTimesteps"}]
FINALS = [{"final_sigmas_type": "zero"}, {"final_sigmas_type": "sigma_min"}]


def each(name, *values):
    return [{name: value} for value in values]


LOWER = each("lower_order_final", True, False)


def families(problem):
    """Classes, what they do not have in common, and the lists whose product is the settings."""
    rounded = SPACINGS + SIGMAS
    least, most = problem.ratios[0].item(), problem.ratios[-1].item()
    edm = {"sigma_min": least, "sigma_max": most, "sigma_data": 1.0, "prediction_type": "v_prediction"}
    sigma_schedules = each("sigma_schedule", "karras", "exponential")
    yield {"class": "DPMSolverMultistepScheduler"}, [
        rounded + each("use_lu_lambdas", True) + PRESETS,
        each("solver_order", 1, 2, 3),
        each("algorithm_type", "dpmsolver++", "dpmsolver"),
        each("solver_type", "midpoint", "heun"),
        FINALS,
        LOWER,
        each("euler_at_final", False, True),
    ]
    yield {"class": "DPMSolverSinglestepScheduler"}, [
        SPACINGS[:1] + SIGMAS + PRESETS,
        each("solver_order", 1, 2, 3),
        each("algorithm_type", "dpmsolver++", "dpmsolver"),
        each("solver_type", "midpoint", "heun"),
        FINALS,
        LOWER,
    ]
    yield {"class": "UniPCMultistepScheduler"}, [
        rounded,
        each("solver_order", 1, 2, 3, 4, 5, 6),
        each("solver_type", "bh1", "bh2"),
        each("predict_x0", True, False),
        each("disable_corrector", [], [0], [0, 1], [0, 1, 2], list(range(100))),
        FINALS,
        LOWER,
    ]
    yield {"class": "DEISMultistepScheduler"}, [rounded, each("solver_order", 1, 2, 3), LOWER]
    yield {"class": "SASolverScheduler", "options": {"tau_func": lambda t: 0}}, [
        rounded,
        each("predictor_order", 1, 2, 3, 4),
        each("corrector_order", 1, 2, 3, 4),
        each("algorithm_type", "data_prediction", "noise_prediction"),
        LOWER,
    ]
    yield {"class": "EulerDiscreteScheduler", "over_alpha": True}, [
        rounded + each("interpolation_type", "log_linear") + PRESETS,
        FINALS,
    ]
    yield {"class": "HeunDiscreteScheduler", "over_alpha": True}, [rounded + PRESETS]
    yield {"class": "KDPM2DiscreteScheduler", "over_alpha": True}, [rounded]
    for order in (1, 2, 3, 4):
        family = {"class": "LMSDiscreteScheduler", "over_alpha": True, "step": {"order": order}}
        yield family, [rounded]
    yield {"class": "EDMEulerScheduler", "over_alpha": True, "kind": "v", "options": edm}, [
        sigma_schedules,
        FINALS,
    ]
    yield {"class": "EDMDPMSolverMultistepScheduler", "over_alpha": True, "kind": "v", "options": edm}, [
        sigma_schedules,
        each("solver_order", 1, 2, 3),
        each("solver_type", "midpoint", "heun"),
        FINALS,
        LOWER,
        each("euler_at_final", False, True),
    ]
    yield {"class": "DDIMScheduler", "options": {"clip_sample": False}}, [
        SPACINGS,
        each("set_alpha_to_one", True, False),
    ]
    yield {"class": "PNDMScheduler"}, [
        SPACINGS,
        each("skip_prk_steps", True, False),
        each("set_alpha_to_one", True, False),
    ]
    # Its levels are its "trained betas", from the first to the final; its own do not start where the others do.
    yield {"class": "IPNDMScheduler", "kind": "v"}, [
        each("levels", "trailing", "karras", "exponential"),
        FINALS,
    ]


def maker(problem, family, setting):
    """A function from a number of steps to the scheduler."""
    cls = getattr(diffusers, family["class"])
    own = {"EDM": {}, "IPN": {"num_train_timesteps": 10}}.get(family["class"][:3], problem.schedule)
    options = {**own, **family.get("options", {}), **setting}
    preset, levels = options.pop("timesteps", None), options.pop("levels", None)
    final = options.pop("final_sigmas_type") if levels else None
    scheduler = None if levels else cls(**options)

    def make(steps):
        if levels:
            made = cls(**options, trained_betas=sigmas(problem, levels, steps, final))
            made.set_timesteps(steps)
            return made
        if preset:
            if len(AysSchedules[preset]) != steps:
                return None
            scheduler.set_timesteps(timesteps=AysSchedules[preset])
        else:
            scheduler.set_timesteps(steps)
        return scheduler

    return make


def sigmas(problem, spacing, steps, final):
    """Levels for iPNDM: as many as there are steps, and the final one; laid out as by the other classes."""
    least, most, count = problem.ratios[0], problem.ratios[-1], len(problem.ratios)
    ramp = np.linspace(0, 1, steps)
    if final == "sigma_min":
        ramp = np.linspace(0, 1, steps + 1)[:-1]
    if spacing == "trailing":
        ratios = problem.ratios[np.arange(count, 0, -count / steps).round().astype(int) - 1]
    elif spacing == "karras":
        ratios = (most ** (1 / 7) + ramp * (least ** (1 / 7) - most ** (1 / 7))) ** 7
    else:
        ratios = np.exp(np.log(most) + ramp * np.log(least / most))
    ratios = np.append(ratios, 0 if final == "zero" else least)
    return (ratios / np.sqrt(1 + ratios**2)).tolist()


def settings(lists):
    for parts in itertools.product(*lists):
        yield {name: value for part in parts for name, value in part.items()}


def words(cls, setting):
    """What a setting has that is not the class's default: 'trailing, solver_order=3'."""
    usual = inspect.signature(cls.__init__).parameters

    def part(name, value):
        if name == "disable_corrector":
            return "no corrector" if len(value) > 9 else f"{name}={value}"
        if name in ("timestep_spacing", "levels", "sigma_schedule"):
            return value
        return name if value is True else f"{name}={value}"

    return ", ".join(
        part(name, value)
        for name, value in setting.items()
        if not (name in usual and usual[name].default == value)
    )


REFUSALS = (ValueError, NotImplementedError, AssertionError, IndexError, RuntimeError, TypeError)


def measured(problem, family, setting, budget):
    """The errors of a setting, by the way in which the model is asked, and the calls of it."""
    make, own = maker(problem, family, setting), family.get("kind") == "v"
    errors = {}
    for asked in ["level"] if own else ["given", "level"]:
        scheduler = fitting(make, budget)  # set_timesteps also forgets the past
        if asked == "level" and level(scheduler) is None:
            continue
        error = problem.error(sample(problem, scheduler, family, asked))
        if not math.isfinite(error):
            raise ValueError("not a number")
        errors["given" if own else asked] = error  # what is not asked by index is asked at its level
    return errors, len(scheduler.timesteps)


def run(problem, budgets):
    results, skipped = [], 0
    for family, lists in families(problem):
        cls = getattr(diffusers, family["class"])
        for setting, budget in itertools.product(settings(lists), budgets):
            try:
                errors, evaluations = measured(problem, family, setting, budget)
            except REFUSALS as error:
                skipped += 1
                if os.environ.get("VERBOSE"):
                    print(cls.__name__, setting, budget, type(error).__name__, error, file=sys.stderr)
                continue
            row = {
                "class": cls.__name__.removesuffix("Scheduler"),
                "setting": words(cls, {**setting, **family.get("step", {})}),
                "budget": budget,
                "evaluations": evaluations,
            }
            results += [{**row, "asked": asked, "error": error} for asked, error in errors.items()]
    return results, skipped


def main():
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity(60)
    torch.set_num_threads(1)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a scheduler prints must not be taken for the answer
    request = json.load(sys.stdin)
    results, skipped = run(Problem(request), request["budgets"])
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    print(json.dumps({**versions, "skipped": skipped, "results": results}), file=answer, flush=True)


if __name__ == "__main__":
    main()
