"""Explicit one-step solvers: ``solver(target, y, dt)`` advances the relaxation dy/dt = target(y) − y by ``dt``."""

import torch


def euler(target, y, dt):
    """First order; the paper's direct-differentiation Euler step, which for a relaxation is a lerp."""
    return torch.lerp(y, target(y), dt)


def midpoint(target, y, dt):
    """Second order: the slope at an Euler half step."""
    half = torch.lerp(y, target(y), dt / 2)
    return y + dt * (target(half) - half)


def heun(target, y, dt):
    """Second order: the mean of the start and of two Euler steps in a row, which is the trapezoidal rule."""
    return torch.lerp(y, euler(target, euler(target, y, dt), dt), 0.5)


def rk4(target, y, dt):
    """Fourth order, the classic Runge-Kutta step."""
    def slope(y):
        return target(y) - y

    k1 = slope(y)
    k2 = slope(y + dt / 2 * k1)
    k3 = slope(y + dt / 2 * k2)
    k4 = slope(y + dt * k3)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


SOLVERS = {'euler': euler, 'midpoint': midpoint, 'heun': heun, 'rk4': rk4}
