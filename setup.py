from setuptools import find_packages, setup
setup(name='mobileode-mm', version='0.1.0', packages=find_packages(include=['mobileode_mm*', 'mmodeconf*']))
