"""What the CoS paper reports (ICML 2025, arXiv 2502.01662v2): speed-up over standard collaborative decoding.

HumanEval, GSM8K, MMLU, CNN/DailyMail, in this order. Other models, prompts, engine and hardware: only the ranges compare.
"""

WEIGHTED = {  # T=1, two models with weights 1/2, three with 1/3
    "Llama-Vicuna": {
        "parallel": (0.69, 0.73, 0.70, 0.75),
        "SD": (1.27, 1.21, 1.19, 1.15),
        "CoS": (1.58, 1.52, 1.41, 1.46),
    },
    "Qwen-3b": {"SD": (1.13, 1.06, 1.09, 1.08), "CoS": (1.62, 1.52, 1.42, 1.38)},
    "Qwen-1.5b": {"SD": (1.11, 1.13, 1.08, 1.10), "CoS": (1.56, 1.46, 1.34, 1.35)},
}
THREE = {
    "Qwen-1.5b, 3 models": {
        "parallel": (0.54, 0.73, 0.80, 0.82),
        "SD": (0.96, 0.92, 0.98, 0.95),
        "CoS": (1.85, 1.53, 1.38, 1.27),
    }
}
GREEDY_CONTRASTIVE = {  # mu=0.1, T=0
    "Llama-3": {"parallel": (0.41, 0.40, 0.41, 0.41), "SD": (2.04, 1.81, 1.52, 1.58), "CoS": (2.23, 2.00, 1.77, 1.61)},
    "Llama-2": {"SD": (1.15, 1.62, 1.08, 0.93), "CoS": (1.26, 1.65, 1.68, 1.30)},
    "OPT": {"SD": (0.99, 1.05, 1.47, 1.40), "CoS": (3.34, 2.61, 3.42, 3.95)},
}
CONTRASTIVE = {  # mu=0.1, T=1
    "Llama-3": {"SD": (1.55, 1.21, 1.20, 1.07), "CoS": (1.65, 1.44, 1.31, 1.18)},
    "Llama-2": {"SD": (0.94, 1.16, 1.23, 1.10), "CoS": (1.15, 1.20, 1.37, 1.11)},
    "OPT": {"SD": (1.47, 1.55, 2.11, 1.85), "CoS": (1.69, 1.76, 2.16, 1.85)},
}


def reported(combine: str | None, members: int, temperature: float, equal: bool) -> dict[str, list[float]]:
    """What the paper reports for such a collaboration, by method, over all models and tasks; empty where nothing.

    Args:
        equal: whether the members cost about the same, as those of its weighted ensembles do.
    """
    kind = (combine or "weighted").partition(":")[0]
    if kind == "weighted" and temperature == 1 and equal:
        tables = {2: WEIGHTED, 3: THREE}.get(members, {})
    elif kind == "contrastive" and members == 2:
        tables = {0: GREEDY_CONTRASTIVE, 1: CONTRASTIVE}.get(int(temperature), {})
    else:
        tables = {}
    found: dict[str, list[float]] = {}
    for models in tables.values():
        for method, values in models.items():
            found.setdefault(method, []).extend(values)
    return found
