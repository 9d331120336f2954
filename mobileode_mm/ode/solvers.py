"""Explicit one-step solvers: ``solver(f, y, dt)`` advances dy/dt = f(y) by ``dt``."""


def euler(f, y, dt):
    """First order; the paper's direct-differentiation Euler step."""
    return y + dt * f(y)


def midpoint(f, y, dt):
    """Second order."""
    return y + dt * f(y + dt / 2 * f(y))


def rk4(f, y, dt):
    """Fourth order, the classic Runge-Kutta step."""
    k1 = f(y)
    k2 = f(y + dt / 2 * k1)
    k3 = f(y + dt / 2 * k2)
    k4 = f(y + dt * k3)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


SOLVERS = {'euler': euler, 'midpoint': midpoint, 'rk4': rk4}
