"""What networks cost: parameters, multiply-adds (MACs), FLOPs, activations; torch and ``ode`` only, but for configs."""
from .counting import Complexity, Stage, count
from .operators import Cost
from .solver import solver_cost

__all__ = ['Complexity', 'Cost', 'Stage', 'count', 'solver_cost']
