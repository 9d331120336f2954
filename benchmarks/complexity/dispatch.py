"""Counting whatever torch's operators do while a context is open."""
from collections import Counter, defaultdict

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .operators import Cost, operator_cost


class OperatorCounter(TorchDispatchMode):
    """Counts every operator that is called, by place and kind.

    Attributes:
        place: Name under which the next operators are counted; the user of the context sets it.
        costs: Cost by (place, kind).
        unknown: How often each operator was called whose cost is not known, by name.
        read: ``id`` of every tensor that an operator was given.
    """

    def __init__(self):
        super().__init__()
        self.place = ''
        self.costs: dict[tuple[str, str], Cost] = defaultdict(Cost)
        self.unknown: Counter[str] = Counter()
        self.read: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.read.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        name = func.name().partition('.')[0]
        cost = operator_cost(name, args, out)
        if cost is None:
            self.unknown[name] += 1
        else:
            self.add(*cost)
        return out

    def add(self, kind: str, cost: Cost) -> None:
        """Count something at the present place."""
        if cost != Cost():
            self.costs[self.place, kind] += cost

    def total(self) -> Cost:
        return sum(self.costs.values(), Cost())
